package grasp

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table of limits in docs/SECURITY.md says what the code does: it has every
// field of Limits, in order, with its default and with the counter that the
// field's comment names.
func TestSecurityLimits(t *testing.T) {
	doc, err := os.ReadFile("docs/SECURITY.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\S+) \\| .* \\| (.+) \\|$").FindAllStringSubmatch(string(doc), -1)

	defaults, err := Limits{}.withDefaults()
	require.NoError(t, err)
	values := reflect.ValueOf(defaults)
	require.Len(t, rows, values.NumField())
	counters := countersOf(t)
	for i, row := range rows {
		name := values.Type().Field(i).Name
		require.Equal(t, name, row[1])
		require.Equal(t, fmt.Sprint(values.Field(i).Interface()), row[2], "default of %s", name)
		want := "–"
		if counters[name] != "" {
			want = counters[name]
		}
		require.Equal(t, want, row[3], "counter of %s", name)
	}
}

// countersOf returns the counter that the comment of each field of Limits
// names.
func countersOf(t *testing.T) map[string]string {
	t.Helper()
	reasons := make(map[string]Reason)
	for _, spec := range declared(t, "observe.go", token.CONST, "ReasonMalformed") {
		reasons[spec.(*ast.ValueSpec).Names[0].Name] = Reason(len(reasons) + 1)
	}
	require.Equal(t, ReasonUnauthorized, reasons["ReasonUnauthorized"])
	out := make(map[string]string)
	comment := ""
	for _, spec := range declared(t, "config.go", token.TYPE, "Limits") {
		for _, f := range spec.(*ast.TypeSpec).Type.(*ast.StructType).Fields.List {
			if f.Doc != nil { // else it is the one of the field before
				comment = f.Doc.Text()
			}
			named := regexp.MustCompile(`\[(Reason\w+)\]`).FindStringSubmatch(comment)
			if named != nil {
				require.Contains(t, reasons, named[1])
				out[f.Names[0].Name] = reasons[named[1]].String()
			}
		}
	}
	return out
}

// declared returns the specs of the declaration in a file that begins with a
// name.
func declared(t *testing.T, file string, kind token.Token, name string) []ast.Spec {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	require.NoError(t, err)
	for _, d := range f.Decls {
		d, ok := d.(*ast.GenDecl)
		if !ok || d.Tok != kind {
			continue
		}
		switch first := d.Specs[0].(type) {
		case *ast.ValueSpec:
			if first.Names[0].Name == name {
				return d.Specs
			}
		case *ast.TypeSpec:
			if first.Name.Name == name {
				return d.Specs
			}
		}
	}
	require.Fail(t, "not declared", "%s in %s", name, file)
	return nil
}

// Every reason has a name of its own.
func TestReasonNames(t *testing.T) {
	var names []string
	for r := Reason(1); r < reasonCount; r++ {
		require.NotEqual(t, "unknown", r.String(), "reason %d", r)
		require.Equal(t, strings.TrimSpace(r.String()), r.String())
		names = append(names, r.String())
	}
	slices.Sort(names)
	require.Equal(t, len(names), len(slices.Compact(slices.Clone(names))))
}

package grasp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestREADME keeps the README true: its program is the Example, and what the
// table in docs/carrying-over.md says of the API is there. (That the program compiles is for TestDocs.)
func TestREADME(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	require.NoError(t, err)
	readme := string(raw)

	t.Run("Program", func(t *testing.T) {
		_, section, _ := strings.Cut(readme, "\n## A first ASA\n")
		_, block, _ := strings.Cut(section, "\n```go\n")
		program, _, found := strings.Cut(block, "\n```\n")
		require.True(t, found, "there is a Go block in the section A first ASA")

		test, err := os.ReadFile("example_test.go")
		require.NoError(t, err)
		require.Equal(t, funcBody(t, string(test), "banker"), funcBody(t, program, "banker"), "banker, tested and in README.md")
		require.LessOrEqual(t, strings.Count(funcBody(t, program, "banker"), "\n"), 30, "an ASA in 30 lines")
		require.Contains(t, string(test), "banker(context.Background(), here)", "Example runs it")
	})

	t.Run("Table", func(t *testing.T) {
		guide, err := os.ReadFile("docs/carrying-over.md")
		require.NoError(t, err)
		_, section, _ := strings.Cut(string(guide), "\n| Python (")
		table, _, _ := strings.Cut(section, "\n\n")
		api := newAPI(t)
		names := 0
		for _, row := range strings.Split(table, "\n")[2:] {
			cells := strings.Split(row, "|")
			require.Len(t, cells, 5, row)
			for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[3], -1) {
				if strings.HasPrefix(code[1], ".") {
					continue // a method of whatever it was
				}
				expr, err := parser.ParseExpr(strings.ReplaceAll(code[1], "{...}", "{}"))
				require.NoError(t, err, code[1])
				names += api.check(t, expr)
			}
		}
		require.Greater(t, names, 40)
	})
}

// funcBody returns the source of a function between its braces.
func funcBody(t *testing.T, source, name string) string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", source, parser.ParseComments)
	require.NoError(t, err)
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == name {
			return source[fset.Position(f.Body.Lbrace).Offset+2 : fset.Position(f.Body.Rbrace).Offset]
		}
	}
	t.Fatalf("no func %s", name)
	return ""
}

// api holds what the package exports: functions by name and methods as
// "(*T).M", with their parameters; other names with -1; and the fields of
// structs as "T.F".
type api map[string]int

const variadic = 1000 // or more: that many fewer and any number after them

func newAPI(t *testing.T) api {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	out := make(api)
	for _, path := range append(files, "monitor/bubbles.go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				out[nameOf(d)] = parameters(d.Type)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					out.declare(spec)
				}
			}
		}
	}
	return out
}

func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	if star, ok := f.Recv.List[0].Type.(*ast.StarExpr); ok {
		return "(*" + typeName(star.X) + ")." + f.Name.Name
	}
	return typeName(f.Recv.List[0].Type) + "." + f.Name.Name
}

// typeName is the name of a receiver's type, without type parameters.
func typeName(e ast.Expr) string {
	if generic, ok := e.(*ast.IndexExpr); ok {
		e = generic.X
	}
	return e.(*ast.Ident).Name
}

func parameters(f *ast.FuncType) int {
	n := f.Params.NumFields()
	if n > 0 {
		if _, ok := f.Params.List[len(f.Params.List)-1].Type.(*ast.Ellipsis); ok {
			return variadic + n - 1
		}
	}
	return n
}

func (a api) declare(spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			a[name.Name] = -1
		}
	case *ast.TypeSpec:
		a[spec.Name.Name] = -1
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return
		}
		for _, f := range fields.Fields.List {
			for _, name := range f.Names {
				a[spec.Name.Name+"."+name.Name] = -1
			}
		}
	}
}

// check checks that all that an expression names is there, and that calls have
// as many arguments as there are parameters. It returns how many names it saw.
func (a api) check(t *testing.T, expr ast.Expr) int {
	t.Helper()
	names := 0
	have := func(name string) int {
		names++
		n, ok := a[name]
		require.True(t, ok && ast.IsExported(name[strings.LastIndex(name, ".")+1:]), "there is no %s", name)
		return n
	}
	ast.Inspect(expr, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			want := have(selected(n.Fun))
			if want >= variadic {
				require.GreaterOrEqual(t, len(n.Args), want-variadic, "arguments of %s", selected(n.Fun))
				return true
			}
			require.Len(t, n.Args, want, "arguments of %s", selected(n.Fun))
		case *ast.SelectorExpr:
			have(selected(n))
			return false
		case *ast.CompositeLit:
			name := selected(n.Type)
			have(name)
			for _, e := range n.Elts {
				if pair, ok := e.(*ast.KeyValueExpr); ok {
					e = pair.Key
				}
				have(name + "." + e.(*ast.Ident).Name)
			}
			return false
		}
		return true
	})
	return names
}

// selected returns X for X and grasp.X, and "(*T).M" for that.
func selected(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		if paren, ok := e.X.(*ast.ParenExpr); ok {
			return "(*" + paren.X.(*ast.StarExpr).X.(*ast.Ident).Name + ")." + e.Sel.Name
		}
		return e.Sel.Name
	}
	return ""
}

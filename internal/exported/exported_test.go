// Package exported_test watches over what the module exports: that it changes
// only on purpose, and that there is an Example for every call.
package exported_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write docs/api.txt anew")

const root = "../.."

// packages are those that others may import.
var packages = []string{".", "acp", "acp/memory", "acp/quads", "acp/tlsplane", "grasptest", "monitor"}

// parse returns the files of a package: those of Linux, or the external tests.
func parse(t *testing.T, dir string, tests bool) (files []*ast.File, fset *token.FileSet) {
	t.Helper()
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = "linux", "amd64", false
	pkg, err := ctx.ImportDir(filepath.Join(root, dir), 0)
	require.NoError(t, err)
	names := pkg.GoFiles
	if tests {
		names = slices.Concat(pkg.TestGoFiles, pkg.XTestGoFiles)
	}
	fset = token.NewFileSet()
	for _, name := range names {
		file, err := parser.ParseFile(fset, filepath.Join(root, dir, name), nil, 0)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files, fset
}

// declarations returns what a package exports, each declaration as a text
// without comments and bodies, in order.
func declarations(t *testing.T, dir string) []string {
	t.Helper()
	files, fset := parse(t, dir, false)
	var out []string
	for _, file := range files {
		ast.FileExports(file)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				if !ofExportedType(f) {
					continue
				}
				f.Body = nil
			}
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
				continue
			}
			var b bytes.Buffer
			require.NoError(t, printer.Fprint(&b, fset, d))
			out = append(out, b.String())
		}
	}
	slices.Sort(out)
	return out
}

// ofExportedType says that a function is no method of a type that is not
// exported.
func ofExportedType(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	name := ""
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return ast.IsExported(name)
}

// The exported API is that of docs/api.txt. Whoever changes it says so in
// docs/CHANGELOG.md, and runs this test with -rewrite.
func TestAPI(t *testing.T) {
	var b strings.Builder
	for _, dir := range packages {
		b.WriteString("package " + dir + "\n\n")
		for _, d := range declarations(t, dir) {
			b.WriteString(d + "\n")
		}
		b.WriteString("\n")
	}
	golden := filepath.Join(root, "docs", "api.txt")
	if *rewrite {
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "the exported API has changed: if that is meant, say it in docs/CHANGELOG.md\n"+
		"and run go test ./internal/exported -rewrite")
}

// calls returns the functions and methods that a package exports. Those that
// only implement an interface of the standard library are left out.
func calls(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, _ := parse(t, dir, false)
	out := make(map[string]bool)
	for _, file := range files {
		ast.FileExports(file)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && ofExportedType(f) && !slices.Contains([]string{"String", "Error", "Unwrap", "MarshalText", "UnmarshalText", "Timeout", "Temporary", "MarshalJSON"}, f.Name.Name) {
				out[f.Name.Name] = true
			}
		}
	}
	return out
}

// Each exported call is shown by an Example, its own or that of another.
func TestExamples(t *testing.T) {
	shown := make(map[string]bool)
	for _, dir := range packages {
		files, _ := parse(t, dir, true)
		for _, file := range files {
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok || f.Body == nil || !strings.HasSuffix(file.Name.Name, "_test") {
					continue
				}
				if _, method, found := strings.Cut(strings.TrimPrefix(f.Name.Name, "Example"), "_"); found && hasExample(file) {
					shown[method] = true
				}
				// Examples call helpers, too: all that is in their files counts.
				ast.Inspect(f.Body, func(n ast.Node) bool {
					if s, ok := n.(*ast.SelectorExpr); ok && hasExample(file) {
						shown[s.Sel.Name] = true
					}
					return true
				})
			}
		}
	}
	for _, dir := range packages {
		for _, name := range slices.Sorted(maps.Keys(calls(t, dir))) {
			assert.True(t, shown[name], "package %s: no Example shows %s", dir, name)
		}
	}
}

// hasExample says that a file is one of Examples.
func hasExample(file *ast.File) bool {
	return slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && strings.HasPrefix(f.Name.Name, "Example")
	})
}

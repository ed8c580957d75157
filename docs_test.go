package grasp_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/longtest"
)

// TestDocs keeps what is written true: each program in README.md and in docs/
// compiles, each test passes, and each link within the repository leads somewhere.
func TestDocs(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(pages), 5)
	top, err := filepath.Glob("*.md")
	require.NoError(t, err)
	programs := 0
	for _, page := range append(top, pages...) {
		raw, err := os.ReadFile(page)
		require.NoError(t, err)
		text := string(raw)
		prose := regexp.MustCompile("(?s)\n```.*?\n```").ReplaceAllString(text, "")
		for _, link := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(prose, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(page), link[1]))
			require.NoError(t, err, "%s links to %s", page, link[1])
		}
		for _, block := range strings.Split(text, "\n```go\n")[1:] {
			program, _, found := strings.Cut(block, "\n```\n")
			require.True(t, found, page)
			programs++
			if !longtest.On() {
				continue // the compiler takes a while
			}
			name, do := "main.go", "vet"
			if strings.Contains(program, "_test\n") {
				name, do = "x_test.go", "test"
			}
			file := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(file, []byte(program+"\n"), 0o600))
			out, err := exec.CommandContext(t.Context(), "go", do, file).CombinedOutput()
			require.NoError(t, err, "%s, program %d: %s", page, programs, out)
			unformatted, err := exec.CommandContext(t.Context(), "gofmt", "-l", file).CombinedOutput()
			require.NoError(t, err)
			require.Empty(t, string(unformatted), "%s, program %d", page, programs)
		}
	}
	require.GreaterOrEqual(t, programs, 7)

	carried, err := os.ReadFile("examples/internal/carried/main.go")
	require.NoError(t, err)
	page, err := os.ReadFile("docs/carrying-over.md")
	require.NoError(t, err)
	require.Contains(t, string(page), "\n```go\n"+string(carried)+"```\n", "the program as it is tested")

	guide, err := os.ReadFile("docs/writing-an-asa.md")
	require.NoError(t, err)
	for file, functions := range map[string][]string{
		"settings.go":  {"Distribute", "Follow"},
		"bandwidth.go": {"reserve", "Negotiate", "Serve"},
	} {
		source, err := os.ReadFile("examples/internal/guide/" + file)
		require.NoError(t, err)
		for _, name := range functions {
			f := regexp.MustCompile(`(?ms)^func (\(p \*Pool\) )?` + name + `\(.*?^}\n`).FindString(string(source))
			require.NotEmpty(t, f, name)
			require.Contains(t, string(guide), f, "%s, as it is tested", name)
		}
	}
}

package netbed

import (
	"strings"
	"testing"
)

// The child of Enter runs the subtests that the flag -run asks for, and no others.
func TestSelection(t *testing.T) {
	for _, c := range []struct{ name, pattern, want string }{
		{"TestX", "", "^TestX$"},
		{"TestX", "X", "^TestX$"},
		{"TestX", "^TestX$", "^TestX$"},
		{"TestX", "TestX/sub", "^TestX$/sub"},
		{"TestX", "TestX/sub/^deep$", "^TestX$/sub/^deep$"},
		{"TestX/sub", "TestX/sub/^deep$", "^TestX$/^sub$/^deep$"},
		{"TestX/sub", "TestX", "^TestX$/^sub$"},
		{"TestX/a_b", "X/a b/c d", "^TestX$/^a_b$/c d"},
		{"TestX", "TestY/one|TestX/two", "^TestX$/two"},
		{"TestX", "TestX/one|TestX/two", "^TestX$/one|^TestX$/two"},
		{"TestX", "TestX/one|TestX", "^TestX$"},
		{"TestX", "(TestY|TestX)/(one|two)", "^TestX$/(one|two)"},
		{"TestX", "Test[/|(]*X/[a/b]", "^TestX$/[a/b]"},
		{"TestX", `TestX/a\/b\|c`, `^TestX$/a\/b\|c`},
		{"TestX(1)", "X/sub", `^TestX\(1\)$/sub`},
	} {
		if got := selection(c.name, c.pattern); got != c.want {
			t.Errorf("selection(%q, %q) = %q, want %q", c.name, c.pattern, got, c.want)
		}
	}
}

func TestHelperSubtests(t *testing.T) {
	helper(t, "subtests")
	if !Enter(t) {
		return
	}
	for _, name := range []string{"one", "two", "three"} {
		t.Run(name, func(t *testing.T) { t.Log("this is " + t.Name()) })
	}
}

func TestSubtestsAreSelected(t *testing.T) {
	out, err := runHelper(t, "TestHelperSubtests", "subtests", "-test.run=^TestHelperSubtests$/^t", "-test.skip=/three")
	if err != nil || !strings.Contains(out, "this is TestHelperSubtests/two") || strings.Contains(out, "this is TestHelperSubtests/one") ||
		strings.Contains(out, "this is TestHelperSubtests/three") {
		t.Errorf("err %v, want the subtest two alone:\n%s", err, out)
	}
}

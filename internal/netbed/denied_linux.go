package netbed

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// Denied runs tests of the same binary as on a machine that gives no namespaces, whose
// loopback is that of this namespace. They must pass, and not be skipped.
func Denied(t *testing.T, tests ...string) {
	t.Helper()
	cmd, err := self(argv0Deny, "-test.v", "-test.count=1", "-test.run=^("+strings.Join(tests, "|")+")$")
	if err != nil {
		t.Fatalf("netbed: %v", err)
	}
	for _, v := range os.Environ() { // the child is in no namespace that it knows of
		if !strings.HasPrefix(v, envOutside+"=") && !strings.HasPrefix(v, envTest+"=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("netbed: without namespaces: %v", err)
	}
	for _, name := range tests {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("netbed: without namespaces %s did not pass", name)
		}
	}
	if !strings.Contains(string(out), errNoNamespace.Error()) {
		t.Error("netbed: namespaces were not denied")
	}
}

// execDenied becomes this program again, without namespaces.
func execDenied(args []string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := RefuseHere(noNamespaces()...); err != nil {
		return err
	}
	return os.NewSyscallError("exec "+exe, syscall.Exec(exe, append([]string{exe}, args...), os.Environ()))
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	flag "github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/quads"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/domain"
)

// run executes a command and returns its exit status and what it wrote.
func run(c Command, in string, args ...string) (status int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	status = c.Execute(context.Background(), args, strings.NewReader(in), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

func TestFlags(t *testing.T) {
	var got *Program
	all := Command{Name: "all", Counts: "things", Memory: true, Run: func(_ context.Context, p *Program) error {
		got = p
		return nil
	}}
	few := all
	few.Name, few.Counts, few.Memory = "few", "", false
	more := all
	more.Arguments = "[word]"

	for args, want := range map[string]Options{
		"-seed 1":                           {Seed: 1, PlaneName: PlaneLayer2, Wait: defaultWait},
		"-n 5 -seed 2 -json":                {Seed: 2, PlaneName: PlaneLayer2, Wait: defaultWait, N: 5, JSON: true},
		"-wait 10s -seed 3":                 {Seed: 3, PlaneName: PlaneLayer2, Wait: 10 * time.Second},
		"-wait 0 -seed 4":                   {Seed: 4, PlaneName: PlaneLayer2},
		"-link a,b -seed 5":                 {Seed: 5, PlaneName: PlaneLayer2, Wait: defaultWait, Links: []string{"a", "b"}},
		"-link memory -seed 6":              {Seed: 6, PlaneName: PlaneLayer2, Wait: defaultWait, Links: []string{"memory"}},
		"--seed=8 --dialogue":               {Seed: 8, PlaneName: PlaneLayer2, Wait: defaultWait, Dialogue: true},
		"--number 5 --seed 2 -n6":           {Seed: 2, PlaneName: PlaneLayer2, Wait: defaultWait, N: 6},
		"-seed 8 -dialogue":                 {Seed: 8, PlaneName: PlaneLayer2, Wait: defaultWait, Dialogue: true},
		"-seed=9 --json=true -":             {},
		"-seed 10 -plane quads -password x": {Seed: 10, PlaneName: PlaneQUADS, Password: "x", Wait: defaultWait},
	} {
		got = nil
		status, _, stderr := run(all, "", strings.Fields(args)...)
		if want.Seed == 0 {
			assert.Equal(t, 2, status, args)
			assert.Contains(t, stderr, "all: unexpected argument")
			continue
		}
		require.Zero(t, status, stderr)
		want.Args, want.given = got.Args, got.given
		assert.Empty(t, got.Args)
		assert.Equal(t, want, got.Options, args)
	}

	for _, args := range []string{
		"-n -1", "-n x", "-wait -1s", "-wait 2h", "-wait 5", "-link a,", "-link memory,a", "-link a,memory",
		"-plane none", "-plane quads", "-password x", "-x", "more", "-seed -1",
	} {
		status, stdout, stderr := run(all, "", strings.Fields(args)...)
		assert.Equal(t, 2, status, args)
		assert.Empty(t, stdout, args)
		assert.NotEmpty(t, stderr, args)
	}
	for _, args := range []string{"-n 2", "-seed 1", "-wait 0", "-link memory"} {
		status, _, stderr := run(few, "", strings.Fields(args)...)
		assert.Equal(t, 2, status, args)
		assert.NotEmpty(t, stderr, args)
	}

	// A program that takes arguments gets them, and may refuse flags and arguments.
	status, _, stderr := run(more, "", "-seed", "1", "hello")
	require.Zero(t, status, stderr)
	assert.Equal(t, []string{"hello"}, got.Args)
	var loud bool
	more.Flags = func(f *flag.FlagSet) { f.BoolVar(&loud, "loud", false, "shout") }
	more.Check = func(o Options) error {
		if loud && len(o.Args) == 0 {
			return errors.New("nothing to shout")
		}
		return nil
	}
	status, _, _ = run(more, "", "-loud", "hello")
	assert.Zero(t, status)
	status, _, stderr = run(more, "", "-loud")
	assert.Equal(t, 2, status)
	assert.Equal(t, "all: nothing to shout\n", stderr)

	for _, help := range []string{"-h", "-help", "--help"} {
		status, stdout, stderr := run(all, "", help)
		assert.Zero(t, status)
		assert.Empty(t, stderr)
		for _, flag := range []string{"-n, --number N", "--seed S", "--json", "--wait D", "--dialogue", "--link name", "--plane plane", "--monitor address:port", "memory"} {
			assert.Contains(t, stdout, flag)
		}
	}
	_, help, _ := run(few, "", "-h")
	assert.NotContains(t, help, "-n N")
	assert.NotContains(t, help, "memory")

	// Without a seed there is a new one each time, and it is told.
	_, stdout, _ := run(all, "")
	_, again, _ := run(all, "")
	assert.NotEqual(t, stdout, again)
}

// A program can tell a flag that says the default from one that is not there.
func TestGiven(t *testing.T) {
	var got Options
	c := Command{Name: "x", Run: func(_ context.Context, p *Program) error {
		got = p.Options
		return nil
	}}
	for _, x := range []struct {
		args  []string
		given bool
	}{
		{nil, false}, {[]string{"--json"}, false}, {[]string{"--plane", "layer2"}, true}, {[]string{"-plane=layer2"}, true},
		{[]string{"--json=false", "--link", ""}, true},
	} {
		status, _, stderr := run(c, "", x.args...)
		require.Zero(t, status, stderr)
		assert.Equal(t, x.given, got.Given("plane", "link"), x.args)
	}
}

// A program's plane is what -plane says, on top of the links, and the password
// need not be on the command line.
func TestPlane(t *testing.T) {
	links := memory.NewNetwork(1).NewNode("x")
	var plane acp.Plane
	c := Command{Name: "planes", Run: func(_ context.Context, p *Program) error {
		var err error
		plane, err = p.Protect(links)
		return err
	}}
	for args, want := range map[string]acp.Plane{
		"":                                   links,
		"-plane layer2":                      links,
		"-plane quads":                       &quads.Plane{Password: "from the environment", Under: links},
		"-plane quads -password=from-a-flag": &quads.Plane{Password: "from-a-flag", Under: links},
	} {
		t.Setenv(PasswordEnv, "from the environment")
		status, _, stderr := run(c, "", strings.Fields(args)...)
		require.Zero(t, status, stderr)
		assert.Equal(t, want, plane, args)
	}
	t.Setenv(PasswordEnv, "")
	status, _, stderr := run(c, "", "-plane", "quads")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, PasswordEnv)
}

// Over TLS, a program is a member of the domain in a directory, or has a domain
// of its own.
func TestTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	d, err := domain.Create(dir, "a domain")
	require.NoError(t, err)
	cert, err := d.Issue("gray", time.Hour)
	require.NoError(t, err)
	require.NoError(t, domain.SaveMember(dir, "gray", cert))

	n := memory.NewNetwork(1)
	links := n.NewNode("x", n.NewLink(memory.LinkConfig{}))
	var reasons []string
	inOne := Command{Name: "both", Memory: true, Run: func(_ context.Context, p *Program) error {
		for range 2 {
			plane, err := p.Protect(links)
			if err != nil {
				return err
			}
			if plane == acp.Plane(links) {
				reasons = append(reasons, "as it is")
				continue
			}
			assert.Equal(t, acp.Plane(links), plane.(*tlsplane.Plane).Underlay)
			assert.True(t, plane.Status().Secure)
			reasons = append(reasons, plane.Status().Reason)
		}
		return nil
	}}
	alone := inOne
	alone.Memory = false
	for args, want := range map[string]string{
		"":                     "as it is",
		"-plane layer2":        "as it is",
		"-plane tls":           "member-",
		"-plane tls -domain D": "as gray until",
	} {
		args = strings.ReplaceAll(args, "D", dir+" -member gray")
		reasons = nil
		status, _, stderr := run(inOne, "", strings.Fields(args)...)
		require.Zero(t, status, stderr)
		require.Len(t, reasons, 2)
		for _, r := range reasons {
			assert.Contains(t, r, want)
		}
		if want != "member-" {
			status, _, stderr = run(alone, "", strings.Fields(args)...)
			require.Zero(t, status, stderr)
		}
	}
	for _, args := range []string{"-plane tls -domain D", "-plane tls -member m", "-domain D -member m", "-plane layer2 -member m"} {
		for _, c := range []Command{inOne, alone} {
			status, _, stderr := run(c, "", strings.Fields(args)...)
			assert.Equal(t, 2, status, args)
			assert.Contains(t, stderr, "--domain and --member")
		}
	}
	status, _, stderr := run(alone, "", "-plane", "tls")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, "--domain and --member")
	status, _, stderr = run(alone, "", "-plane", "tls", "-domain", dir, "-member", "nobody")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "nobody.pem")
}

func TestExitStatus(t *testing.T) {
	c := Command{Name: "failing", Counts: "failures", Run: func(context.Context, *Program) error { return errors.New("no luck") }}
	status, stdout, stderr := run(c, "", "-seed", "1")
	assert.Equal(t, 1, status)
	assert.Equal(t, "Seed: 1\n", stdout)
	assert.Equal(t, "failing: no luck\n", stderr)
}

func TestWhereOutputGoes(t *testing.T) {
	c := Command{Name: "x", Counts: "outcomes", Run: func(_ context.Context, p *Program) error {
		g, err := p.NewInstance(memory.NewNetwork(1).NewNode("x"), grasp.Config{})
		if err != nil {
			return err
		}
		a, err := g.RegisterASA("A")
		if err != nil {
			return err
		}
		a.Tprint("progress")
		a.Ttprint("test mode")
		p.Outcomes.Add(Outcome{ASA: "A"})
		return g.Close()
	}}
	const outcome = `{"asa":"A","asked":null,"outcome":"","value":null,"steps":0,"reason":""}` + "\n"
	for _, w := range []struct{ args, in, out, errOut string }{
		{"-seed 1", "", "Seed: 1\nA: progress\n", ""},
		{"-seed 1 -json", "", outcome, "Seed: 1\nA: progress\n"},
		{"-seed 1 -dialogue", "y\n", "Seed: 1\nA: progress\nA: test mode\n", "Y/N: "},
		{"-seed 1 -dialogue", "n\nn\ny\n", "", "Y/N: "},
		{"-seed 1 -dialogue -json", "n\nn\ny\n", outcome, "Y/N: "},
	} {
		status, stdout, stderr := run(c, w.in, strings.Fields(w.args)...)
		assert.Zero(t, status)
		assert.Equal(t, w.out, stdout, w.args)
		if w.errOut == "Y/N: " {
			assert.Contains(t, stderr, w.errOut)
		} else {
			assert.Equal(t, w.errOut, stderr, w.args)
		}
	}
}

func TestWaitForLink(t *testing.T) {
	n := memory.NewNetwork(1)
	node := n.NewNode("x")
	g, err := grasp.New(grasp.Config{Plane: node})
	require.NoError(t, err)
	defer g.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Empty(t, WaitForLink(ctx, g))
	l := node.Attach(n.NewLink(memory.LinkConfig{Name: "lan"}))
	assert.Equal(t, []acp.Link{l}, WaitForLink(ctx, g))
}

func TestOutcomes(t *testing.T) {
	var out bytes.Buffer
	c := NewOutcomes(&out)
	asked, value := int64(400), int64(123)
	c.Add(Outcome{ASA: "Gray", Asked: &asked, Outcome: Agreed, Value: &value, Steps: 3})
	c.Add(Outcome{ASA: "Briggs", Outcome: Declined, Reason: "Недостаточно средств <&>\n"})
	assert.Equal(t, `{"asa":"Gray","asked":400,"outcome":"agreed","value":123,"steps":3,"reason":""}
{"asa":"Briggs","asked":null,"outcome":"declined","value":null,"steps":0,"reason":"Недостаточно средств <&>\n"}
`, out.String())
	assert.Equal(t, "Negotiations: 1 agreed, 0 declined, 0 failed", c.Summary("Gray"))
	assert.Equal(t, "Negotiations: 0 agreed, 0 declined, 0 failed", c.Summary("nobody"))
	assert.NoError(t, c.Err())

	_, w := io.Pipe()
	require.NoError(t, w.Close())
	c = NewOutcomes(w)
	c.Add(Outcome{})
	assert.ErrorIs(t, c.Err(), io.ErrClosedPipe)
}

package grasp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
)

// printing starts an instance that prints to a buffer.
func printing(t *testing.T, d Dialogue) (*ASA, *bytes.Buffer) {
	t.Helper()
	out := new(bytes.Buffer)
	d.Output = out
	g := instanceWith(t, memory.NewNetwork(1).NewNode("x"), func(c *Config) { c.Dialogue = d })
	return newASA(t, g, "Briggs"), out
}

func TestTprint(t *testing.T) {
	a, out := printing(t, Dialogue{})
	a.Tprint("an offer of", 50, []any{"NZD"}, nil)
	a.Ttprint("not in test mode")
	require.Equal(t, "Briggs: an offer of 50 [NZD] <nil>\n", out.String())

	a, out = printing(t, Dialogue{Testing: true})
	a.Ttprint("in test mode")
	require.Equal(t, "Briggs: in test mode\n", out.String())
}

// Whatever a peer said, no terminal takes it for a command.
func TestTprintNeverFailsOnOddCharacters(t *testing.T) {
	a, out := printing(t, Dialogue{})
	a.Tprint("\x1b[2J\x9b2J \xff\xfe \u202e Недостаточно\t数\r\x00")
	require.Equal(t, "Briggs: \ufffd[2J\ufffd2J \ufffd \u202e Недостаточно\t数\ufffd\ufffd\n", out.String())

	g := instanceWith(t, memory.NewNetwork(1).NewNode("x"), func(c *Config) { c.Dialogue.Output = out })
	out.Reset()
	newASA(t, g, "evil\x1b[m").Tprint("hi")
	require.Equal(t, "evil\ufffd[m: hi\n", out.String())
}

func TestTprintLinesDoNotMix(t *testing.T) {
	a, out := printing(t, Dialogue{Testing: true})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 50 {
				a.Tprint(strings.Repeat("x", 100))
				a.Ttprint(strings.Repeat("y", 100))
			}
		})
	}
	all.Wait()
	lines := bufio.NewScanner(out)
	n := 0
	for ; lines.Scan(); n++ {
		line := strings.TrimPrefix(lines.Text(), "Briggs: ")
		require.Len(t, line, 100)
		require.Equal(t, strings.Repeat(line[:1], 100), line)
	}
	require.Equal(t, 2000, n)
}

// silent means not a byte, whatever happens.
func TestA66Silent(t *testing.T) {
	a, out := printing(t, Dialogue{Silent: true, Testing: true, Diagnosing: true})
	stdout, stderr := captured(t)
	a.Tprint("hello")
	a.Ttprint("hello")
	a.g.DumpAll(false)
	a.g.takeMulticast([]byte{0xff}, acp.Origin{})
	a.g.cfg.Plane.(*memory.Node).SetStatus(acp.Status{Reason: "gone"})
	require.Error(t, a.Flood(0))
	require.NoError(t, a.g.Close())
	require.Empty(t, out.String())
	require.Empty(t, stdout())
	require.Empty(t, stderr())
}

// captured redirects standard output and error, and returns functions that
// return what came there.
func captured(t *testing.T) (stdout, stderr func() string) {
	t.Helper()
	redirect := func(std **os.File) func() string {
		f, err := os.CreateTemp(t.TempDir(), "")
		require.NoError(t, err)
		old := *std
		*std = f
		t.Cleanup(func() { *std = old; _ = f.Close() })
		return func() string {
			b, err := os.ReadFile(f.Name())
			require.NoError(t, err)
			return string(b)
		}
	}
	return redirect(&os.Stdout), redirect(&os.Stderr)
}

// Diagnosing prints why messages were dropped.
func TestDiagnosing(t *testing.T) {
	a, out := printing(t, Dialogue{Diagnosing: true})
	a.g.takeMulticast([]byte{0xff}, acp.Origin{})
	a.g.flush()
	require.Contains(t, out.String(), "malformed")
	out.Reset()
	inBed(t, func(b *bed) {
		// Our own multicasts come back all the time: that is no news.
		own := b.other("own", func(c *Config) { c.Dialogue = Dialogue{Diagnosing: true, Output: out} })
		_, err := own.Discover(forever, neg("EX1", nil), 0, DiscoverOptions{})
		require.NoError(b, err)
		require.EqualValues(b, 1, own.g.Snapshot().Dropped[ReasonOwn.String()])
	})
	require.Empty(t, out.String())
}

func TestDumpAll(t *testing.T) {
	inBed(t, func(b *bed) {
		out := new(bytes.Buffer)
		a := b.other("Gray", func(c *Config) { c.Dialogue.Output = out })
		require.NoError(b, a.RegisterObj(neg("EX1", nil), RegisterOptions{Discoverable: true}))
		registered(b, syn("EX2", nil), a)
		require.NoError(b, a.ListenSynchronize(syn("EX2", []any{"NZD", 7})))
		require.NoError(b, a.Flood(0, TaggedObjective{Objective: syn("EX2", "flooded")}))
		require.NoError(b, b.asa.RegisterObj(neg("EX3", nil), RegisterOptions{Discoverable: true}))
		registered(b, neg("EX3", nil), a)
		found, err := a.Discover(forever, neg("EX3", nil), 0, DiscoverOptions{First: true})
		require.NoError(b, err)
		require.Len(b, found, 1)
		_, err = a.OpenSession(forever, neg("EX3", nil), b.peer.locator(), 0)
		require.NoError(b, err)

		a.g.DumpAll(false)
		for _, want := range []string{
			"Plane: secure true", "Address: fd00::3:1, port ", "Link: ", "ASAs: Gray",
			"Objective registry: 3", "EX1 ASAs: Gray Neg: true Dry: false Synch: false Count: 6 Discoverable: true",
			`Value: ["NZD", 7]`, "Flood cache: 1", `value: "flooded" source: no locator`,
			"Discovery cache: 1", "EX3 [fd00::1:1]:", "expires in 1m0s", "Sessions: 1", "initiator: true", "Connections: 1",
			"Sent: map[M_DISCOVERY:1 M_FLOOD:1 M_REQ_NEG:1]", "Received: map[M_RESPONSE:1]",
		} {
			require.Contains(b, out.String(), want)
		}
		out.Reset()
		a.g.DumpAll(true)
		require.Contains(b, out.String(), "Objective registry: 3")
		require.Contains(b, out.String(), "Flood cache: 1")
		for _, not := range []string{"Plane", "Address", "Discovery cache", "Sessions", "Sent"} {
			require.NotContains(b, out.String(), not)
		}
	})
}

func TestAskDialogue(t *testing.T) {
	for _, c := range []struct {
		answers string
		want    Dialogue
	}{
		{"y\nn\ny\n", Dialogue{Testing: true, Silent: true}},
		{"Yes please\r\n  Y\nno", Dialogue{Testing: true, Diagnosing: true}},
		{"\n\n\n", Dialogue{}},
		{"n\ny", Dialogue{Diagnosing: true}},
		{"", Dialogue{}},
	} {
		var out strings.Builder
		got, err := AskDialogue(strings.NewReader(c.answers), &out)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%q", c.answers)
		require.True(t, strings.HasPrefix(out.String(), "Test mode"), "%q", out.String())
	}
	_, err := AskDialogue(strings.NewReader("y\n"), failing{})
	require.ErrorIs(t, err, errBroken)
	_, err = AskDialogue(failing{}, io.Discard)
	require.ErrorIs(t, err, errBroken)
}

// failing can neither be read nor written.
type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, errBroken }
func (failing) Write([]byte) (int, error) { return 0, errBroken }

// An output that fails, and values that panic or fail when they are printed,
// do no harm.
func TestTprintToWhatFails(t *testing.T) {
	g := instanceWith(t, memory.NewNetwork(1).NewNode("x"), func(c *Config) { c.Dialogue.Output = failing{} })
	a := newASA(t, g, "x")
	a.Tprint("lost")
	g.DumpAll(false)
	b, out := printing(t, Dialogue{})
	b.Tprint(errors.New("an error"), panicking{})
	require.Contains(t, out.String(), "an error")
	require.Contains(t, out.String(), "PANIC")
}

type panicking struct{}

func (panicking) String() string { panic("not printable") }

// standing puts an instance in place of the default one for a test.
func standing(t *testing.T, g *Instance) {
	t.Helper()
	standard.mu.Lock()
	old, dialogue := standard.g, standard.dialogue
	standard.g, standard.dialogue = g, Dialogue{}
	standard.mu.Unlock()
	t.Cleanup(func() {
		standard.mu.Lock()
		standard.g, standard.dialogue = old, dialogue
		standard.mu.Unlock()
	})
}

// SkipDialogue counts before the default instance starts, not after.
func TestA67SkipDialogue(t *testing.T) {
	var before, after strings.Builder
	standing(t, nil)
	SkipDialogue(Dialogue{Testing: true, Output: &before})
	Tprint("early")
	Ttprint("early", "test")
	DumpAll(false) // there is nothing to print
	require.Equal(t, "early\nearly test\n", before.String())

	standard.mu.Lock()
	d := standard.dialogue
	standard.mu.Unlock()
	require.True(t, d.Testing, "the default instance will have it")
	g := instanceWith(t, memory.NewNetwork(1).NewNode("x"), func(c *Config) { c.Dialogue = d })
	standing(t, g)
	SkipDialogue(Dialogue{Silent: true, Output: &after})
	Ttprint("late")
	DumpAll(true)
	require.Contains(t, before.String(), "late\nObjective registry: 0\n")
	require.Empty(t, after.String())
	require.Zero(t, standard.dialogue)
}

// The default instance is one, and another one after it was closed.
func TestDefaultIsOne(t *testing.T) {
	g := instanceWith(t, memory.NewNetwork(1).NewNode("x"))
	standing(t, g)
	for range 3 {
		got, err := Default()
		require.NoError(t, err)
		require.Same(t, g, got)
	}
	a, err := RegisterASA("Briggs")
	require.NoError(t, err)
	require.Same(t, g, a.Instance())
	require.Equal(t, "Briggs", a.Name())
	_, err = RegisterASA("Briggs")
	isCode(t, err, ErrDupASA)
	require.Equal(t, []string{"Briggs"}, g.Snapshot().ASAs, fmt.Sprint(g.Snapshot()))
}

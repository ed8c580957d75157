package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/bed"
)

// printing starts an instance that prints to a buffer.
func printing(t *testing.T, d grasp.Dialogue) (*grasp.ASA, *bed.Injector, *bytes.Buffer) {
	t.Helper()
	out := new(bytes.Buffer)
	d.Output = out
	plane := bed.NewInjector(memory.NewNetwork(1).NewNode("x"))
	g := bed.InstanceWith(t, plane, func(c *grasp.Config) { c.Dialogue = d })
	return bed.NewASA(t, g, "Briggs"), plane, out
}

func TestTprint(t *testing.T) {
	a, _, out := printing(t, grasp.Dialogue{})
	a.Tprint("an offer of", 50, []any{"NZD"}, nil)
	a.Ttprint("not in test mode")
	require.Equal(t, "Briggs: an offer of 50 [NZD] <nil>\n", out.String())

	a, _, out = printing(t, grasp.Dialogue{Testing: true})
	a.Ttprint("in test mode")
	require.Equal(t, "Briggs: in test mode\n", out.String())
}

// Whatever a peer said, no terminal takes it for a command.
func TestTprintNeverFailsOnOddCharacters(t *testing.T) {
	a, _, out := printing(t, grasp.Dialogue{})
	a.Tprint("\x1b[2J\x9b2J \xff\xfe \u202e Недостаточно\t数\r\x00")
	require.Equal(t, "Briggs: \ufffd[2J\ufffd2J \ufffd \u202e Недостаточно\t数\ufffd\ufffd\n", out.String())

	g := bed.InstanceWith(t, memory.NewNetwork(1).NewNode("x"), func(c *grasp.Config) { c.Dialogue.Output = out })
	out.Reset()
	bed.NewASA(t, g, "evil\x1b[m").Tprint("hi")
	require.Equal(t, "evil\ufffd[m: hi\n", out.String())
}

func TestTprintLinesDoNotMix(t *testing.T) {
	a, _, out := printing(t, grasp.Dialogue{Testing: true})
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
	a, plane, out := printing(t, grasp.Dialogue{Silent: true, Testing: true, Diagnosing: true})
	stdout, stderr := captured(t)
	a.Tprint("hello")
	a.Ttprint("hello")
	a.Instance().DumpAll(false)
	plane.Inject([]byte{0xff}, acp.Origin{})
	plane.Plane.(*memory.Node).SetStatus(acp.Status{Reason: "gone"})
	require.Error(t, a.Flood(0))
	require.NoError(t, a.Instance().Close())
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
	synctest.Test(t, func(t *testing.T) {
		_, plane, out := printing(t, grasp.Dialogue{Diagnosing: true})
		plane.Inject([]byte{0xff}, acp.Origin{})
		synctest.Wait()
		require.Contains(t, out.String(), "malformed")
	})
	out := new(bytes.Buffer)
	bed.In(t, func(b *bed.Bed) {
		// Our own multicasts come back all the time: that is no news.
		own := b.Other("own", func(c *grasp.Config) { c.Dialogue = grasp.Dialogue{Diagnosing: true, Output: out} })
		_, err := own.Discover(bed.Forever, bed.Neg("EX1", nil), 0, grasp.DiscoverOptions{})
		require.NoError(b, err)
		require.EqualValues(b, 1, own.Instance().Snapshot().Dropped[grasp.ReasonOwn])
	})
	require.Empty(t, out.String())
}

func TestDumpAll(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		out := new(bytes.Buffer)
		a := b.Other("Gray", func(c *grasp.Config) { c.Dialogue.Output = out })
		require.NoError(b, a.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{Discoverable: true}))
		bed.Registered(b, bed.Syn("EX2", nil), a)
		require.NoError(b, a.ListenSynchronize(bed.Syn("EX2", []any{"NZD", 7})))
		require.NoError(b, a.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX2", "flooded")}))
		require.NoError(b, b.ASA.RegisterObj(bed.Neg("EX3", nil), grasp.RegisterOptions{Discoverable: true}))
		bed.Registered(b, bed.Neg("EX3", nil), a)
		found, err := a.Discover(bed.Forever, bed.Neg("EX3", nil), 0, grasp.DiscoverOptions{First: true})
		require.NoError(b, err)
		require.Len(b, found, 1)
		_, err = a.OpenSession(bed.Forever, bed.Neg("EX3", nil), b.Peer.Locator(), 0)
		require.NoError(b, err)

		a.Instance().DumpAll(false)
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
		a.Instance().DumpAll(true)
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
		want    grasp.Dialogue
	}{
		{"y\nn\ny\n", grasp.Dialogue{Testing: true, Silent: true}},
		{"Yes please\r\n  Y\nno", grasp.Dialogue{Testing: true, Diagnosing: true}},
		{"\n\n\n", grasp.Dialogue{}},
		{"n\ny", grasp.Dialogue{Diagnosing: true}},
		{"", grasp.Dialogue{}},
	} {
		var out strings.Builder
		got, err := grasp.AskDialogue(strings.NewReader(c.answers), &out)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%q", c.answers)
		require.True(t, strings.HasPrefix(out.String(), "Test mode"), "%q", out.String())
	}
	_, err := grasp.AskDialogue(strings.NewReader("y\n"), failing{})
	require.ErrorIs(t, err, bed.ErrBroken)
	_, err = grasp.AskDialogue(failing{}, io.Discard)
	require.ErrorIs(t, err, bed.ErrBroken)
}

// failing can neither be read nor written.
type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, bed.ErrBroken }
func (failing) Write([]byte) (int, error) { return 0, bed.ErrBroken }

// An output that fails, and values that panic or fail when they are printed,
// do no harm.
func TestTprintToWhatFails(t *testing.T) {
	g := bed.InstanceWith(t, memory.NewNetwork(1).NewNode("x"), func(c *grasp.Config) { c.Dialogue.Output = failing{} })
	a := bed.NewASA(t, g, "x")
	a.Tprint("lost")
	g.DumpAll(false)
	b, _, out := printing(t, grasp.Dialogue{})
	b.Tprint(errors.New("an error"), panicking{})
	require.Contains(t, out.String(), "an error")
	require.Contains(t, out.String(), "PANIC")
}

type panicking struct{}

func (panicking) String() string { panic("not printable") }

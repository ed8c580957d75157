package monitor_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/monitor"
)

// What a newcomer sees: pair in a browser, while it runs and after it.
func TestBrowserPair(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	b := newBrowser(t)
	url, said, stop := runPair(t)

	b.open(url)
	b.await("document.querySelectorAll('.card .state.good').length > 0 && document.querySelectorAll('.bubble').length > 25")
	inTwoColours(t, b.screenshot("bubbles"))
	b.dark(true)
	b.screenshot("bubbles-dark")
	b.dark(false)
	assert.Equal(t, []string{"Briggspair", "Graypair-2"}, b.texts(".lane"))

	b.open(url + "#monitor?instance=pair-2")
	b.await("document.querySelectorAll('#messages li').length > 10 && document.querySelectorAll('#tables td').length > 10")
	inTwoColours(t, b.screenshot("monitor"))
	b.dark(true)
	b.screenshot("monitor-dark")
	b.dark(false)

	// When all is over it can still be looked at.
	summary := said("Gray: Negotiations: ")
	said("Done.")
	for _, name := range []string{"pair", "pair-2"} {
		b.open(url + "#monitor?instance=" + name)
		sameFigures(t, b, url, name)
	}
	assert.Equal(t, []string{"closed"}, b.texts("[data-figure=Closed]"))
	b.open(url + "#bubbles")
	b.await("document.querySelectorAll('.card').length === 5 && document.querySelectorAll('.card .open').length === 0")
	b.screenshot("bubbles-after")
	ends := make(map[string]int)
	for _, how := range b.texts(".card .state") {
		ends[how]++
	}
	assert.Equal(t, summary, fmt.Sprintf("%d agreed, %d declined, %d failed", ends["agreed"], ends["declined"], ends["broken off"]))
	everyWordThere(t, b)
	stop()
	b.await("document.getElementById('connection').textContent === 'the program has ended'")
	assert.Empty(t, b.complaints())
}

// runPair runs the example on a network in memory, and returns the URL of its
// monitor, what waits for a line that begins with something and returns the rest
// of it, and what ends it.
func runPair(t *testing.T) (url string, said func(string) string, stop func()) {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "pair")
	out, err := exec.Command("go", "build", "-o", exe, "../examples/pair").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(exe, "-n", "5", "-link", "memory", "-seed", "1", "-monitor", "localhost:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, if all went well
	lines := bufio.NewScanner(stdout)
	said = func(start string) string {
		for lines.Scan() {
			if rest, found := strings.CutPrefix(lines.Text(), start); found {
				return rest
			}
		}
		require.Fail(t, "not said: "+start)
		return ""
	}
	return said("Monitor: "), said, func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait())
	}
}

// inTwoColours says that a screenshot has the size asked for and shows
// something.
func inTwoColours(t *testing.T, raw []byte) {
	t.Helper()
	shot, err := png.Decode(bytes.NewReader(raw))
	require.NoError(t, err)
	require.Equal(t, image.Pt(1280, 800), shot.Bounds().Size())
	colours := make(map[any]bool)
	for x := range 1280 {
		for y := range 800 {
			colours[shot.At(x, y)] = true
		}
	}
	require.Greater(t, len(colours), 20)
}

// everyWordThere says that no text is cut off or overflows its box.
func everyWordThere(t *testing.T, b *browser) {
	t.Helper()
	assert.Empty(t, eval[[]string](b, `[...document.querySelectorAll('.bubble, .card, .lane, header, #tables td, #messages li, #filter')]
		.filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0).map(e => e.className + ': ' + e.textContent)`), "too wide")
	assert.False(t, eval[bool](b, "document.documentElement.scrollWidth > innerWidth"), "wider than the window")
}

// sameFigures says that each figure on the page is the one in the snapshot, and
// that none is missing.
func sameFigures(t *testing.T, b *browser, url, name string) {
	t.Helper()
	b.await(fmt.Sprintf("[...document.querySelectorAll('#instances button')].some(e => e.dataset.name === %q && e.ariaPressed === 'true')", name))
	var want map[string]figure
	var got map[string]string
	wrong := func() (out []string) {
		want = figuresOf(t, snapshot(t, url, name))
		got = eval[map[string]string](b, "Object.fromEntries([...document.querySelectorAll('#instance [data-figure]')].map(e => [e.dataset.figure, e.textContent]))")
		for path, w := range want {
			if g, ok := got[path]; !ok || !w.is(g) {
				out = append(out, fmt.Sprintf("%s is %q, not %q", path, g, w.text))
			}
		}
		for path, g := range got {
			if _, ok := want[path]; !ok {
				out = append(out, fmt.Sprintf("%s is %q, and not in the snapshot", path, g))
			}
		}
		return out
	}
	// The page is up to a second behind.
	deadline := time.Now().Add(15 * time.Second)
	for len(wrong()) > 0 && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	require.Empty(t, wrong())
	require.Greater(t, len(got), 20)
	everyWordThere(t, b)
}

func snapshot(t *testing.T, url, name string) monitor.InstanceState {
	t.Helper()
	r, err := http.Get(url + "snapshot")
	require.NoError(t, err)
	defer r.Body.Close()
	var s monitor.State
	require.NoError(t, json.NewDecoder(r.Body).Decode(&s))
	for _, i := range s.Instances {
		if i.Name == name {
			return i
		}
	}
	require.Fail(t, "no instance "+name)
	return monitor.InstanceState{}
}

// figure is what the page should show: a text, or the time left until a time.
type figure struct {
	text    string
	expires time.Time
}

// is says that a text shows the figure, give or take some seconds.
func (f figure) is(text string) bool {
	if f.expires.IsZero() {
		return text == f.text
	}
	for ago := -time.Second; ago < 5*time.Second; ago += 50 * time.Millisecond {
		if text == inWords(max(0, time.Until(f.expires)+ago)) {
			return true
		}
	}
	return false
}

// inWords returns a duration as the page shows it.
func inWords(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 10:
		return strconv.FormatFloat(float64(int(s*10+0.5))/10, 'f', -1, 64) + " s"
	case s < 120:
		return fmt.Sprintf("%d s", int(s+0.5))
	case s < 7200:
		return fmt.Sprintf("%d min", int(s/60+0.5))
	default:
		return fmt.Sprintf("%d h", int(s/3600+0.5))
	}
}

// figuresOf returns all that the page should show of an instance.
func figuresOf(t *testing.T, i monitor.InstanceState) map[string]figure {
	t.Helper()
	out := make(map[string]figure)
	s := i.Snapshot
	set := func(path string, v any) { out[path] = figure{text: fmt.Sprint(v)} }
	either := func(yes bool, a, b string) string {
		if yes {
			return a
		}
		return b
	}
	list := func(pairs ...any) string {
		var words []string
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i].(bool) {
				words = append(words, pairs[i+1].(string))
			}
		}
		return strings.Join(words, ", ")
	}
	left := func(path string, expire time.Time) {
		out[path] = figure{expires: expire}
		if expire.IsZero() {
			set(path, "for ever")
		}
	}
	set("Status.Secure", either(s.Status.Secure, "secure", "not secure"))
	set("Status.Reason", s.Status.Reason)
	set("Closed", either(i.Closed, "closed", "running"))
	set("Address", either(s.Address.IsValid(), s.Address.String(), "link-local only"))
	set("Port", s.Port)
	set("Streams", s.Streams)
	for name, n := range map[string]int{
		"Links": len(s.Links), "ASAs": len(s.ASAs), "Objectives": len(s.Objectives),
		"Sessions": len(s.Sessions), "Locators": len(s.Locators), "Floods": len(s.Floods),
	} {
		set("Counts."+name, n)
	}
	for n, l := range s.Links {
		p := fmt.Sprintf("Links.%d.", n)
		set(p+"Name", l.Name)
		set(p+"Index", l.Index)
		set(p+"Addr", l.Addr)
	}
	for n, name := range s.ASAs {
		set(fmt.Sprintf("ASAs.%d.Name", n), name)
	}
	for n, o := range s.Objectives {
		p := fmt.Sprintf("Objectives.%d.", n)
		set(p+"Name", o.Name)
		set(p+"ASAs", strings.Join(o.ASAs, ", "))
		set(p+"Flags", list(o.Neg, "negotiation", o.Dry, "dry run", o.Synch, "synch"))
		set(p+"Listening", list(o.Negotiating, "negotiation", o.Synchronizing, "synch",
			o.Discoverable && !o.Negotiating && !o.Synchronizing, "discovery"))
		set(p+"Waiting", o.Waiting)
		set(p+"LoopCount", o.LoopCount)
		set(p+"TTL", inWords(o.TTL))
		set(p+"Value", o.Value)
	}
	for n, e := range s.Sessions {
		p := fmt.Sprintf("Sessions.%d.", n)
		set(p+"ID", e.ID)
		set(p+"Objective", e.Objective)
		set(p+"ASA", either(e.ASA == "", "waiting", e.ASA))
		set(p+"Role", either(e.Initiator, "asks", "answers"))
		set(p+"Peer", e.Peer)
	}
	for n, l := range s.Locators {
		p := fmt.Sprintf("Locators.%d.", n)
		set(p+"Objective", l.Objective)
		set(p+"Locator", l.Locator)
		set(p+"Diverted", either(l.Locator.Diverted, "yes", "no"))
		left(p+"Left", l.Locator.Expire)
	}
	for n, f := range s.Floods {
		p := fmt.Sprintf("Floods.%d.", n)
		set(p+"Objective", f.Objective)
		set(p+"Value", f.Value)
		set(p+"Source", f.Source)
		set(p+"LoopCount", f.LoopCount)
		left(p+"Left", f.Source.Expire)
	}
	types := make(map[string]bool)
	for _, counts := range []map[string]uint64{s.Sent, s.Received, s.Relayed} {
		for name := range counts {
			types[name] = true
		}
	}
	for name := range types {
		p := "Messages." + name + "."
		set(p+"Type", name)
		set(p+"Sent", s.Sent[name])
		set(p+"Received", s.Received[name])
		set(p+"Relayed", s.Relayed[name])
	}
	for reason, n := range s.Dropped {
		set("Dropped."+reason+".Reason", reason)
		set("Dropped."+reason+".Count", n)
	}
	return out
}

var _ = grasp.UDP

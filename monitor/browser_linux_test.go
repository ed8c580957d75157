package monitor

import (
	"bufio"
	"bytes"
	"fmt"
	"image"
	"image/png"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// What a newcomer sees: pair in a browser, while it runs and after it.
func TestBrowserPair(t *testing.T) {
	longtest.Need(t)
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
	assert.ElementsMatch(t, []string{"Briggspair", "Graypair-2"}, b.texts(".lane"), "whoever is heard first")

	b.open(url + "#monitor?instance=pair-2")
	b.await("document.querySelectorAll('#messages li').length > 10 && document.querySelectorAll('#tables td').length > 10")
	b.await("document.querySelectorAll('#history .curve').length > 5")
	inTwoColours(t, b.screenshot("monitor"))
	b.dark(true)
	b.screenshot("monitor-dark")
	b.dark(false)

	// A telephone shows the same.
	b.size(390, 844)
	b.await("document.querySelectorAll('#messages li').length > 10")
	everyWordThere(t, b)
	b.screenshot("monitor-phone")
	b.scrollTo("#tables")
	b.screenshot("monitor-phone-tables")
	b.scrollTo("#log")
	b.screenshot("monitor-phone-log")
	b.open(url + "#bubbles")
	b.await("document.querySelectorAll('.card .said').length > 0")
	everyWordThere(t, b)
	b.screenshot("bubbles-phone")
	b.size(1280, 800)
	b.open(url + "#monitor?instance=pair-2&log=negotiations")
	b.await("document.querySelectorAll('#ladders .said').length > 5")
	everyWordThere(t, b)
	b.screenshot("monitor-ladders")

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
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", exe, "../examples/pair").CombinedOutput()
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
	assert.Empty(t, eval[[]string](b, `[...document.querySelectorAll('.bubble, .card, .said, .lane, header, #tables td, #messages li, #filter, figure, dl')]
		.filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0).map(e => e.className + ': ' + e.textContent)`), "too wide")
	assert.False(t, eval[bool](b, "document.documentElement.scrollWidth > innerWidth"), "wider than the window")
	assert.Empty(t, eval[[]string](b, `(() => {
		const broken = [];
		const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (texts.nextNode()) {
			const text = texts.currentNode;
			if (!text.parentElement.checkVisibility() || text.parentElement.closest('noscript')) continue;
			for (const word of text.data.matchAll(/(?<![\p{L}\p{N}])[\p{L}\p{N}]{2,28}(?![\p{L}\p{N}])/gu)) {
				const range = document.createRange();
				range.setStart(text, word.index);
				range.setEnd(text, word.index + word[0].length);
				const lines = new Set([...range.getClientRects()].map((r) => Math.round(r.top)));
				if (lines.size > 1) broken.push(word[0]);
			}
		}
		return broken.slice(0, 20);
	})()`), "broken in the middle")
}

// What is hostile is shown as text, whoever says it; what is there is shown,
// live.
func TestBrowserHostile(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	b := newBrowser(t)
	n := memory.NewNetwork(1)
	lan, other := n.NewLink(memory.LinkConfig{Name: "<i>lan</i>"}), n.NewLink(memory.LinkConfig{})
	m := New(Config{Caption: evil})
	defer m.Close()
	start := func(name string, links ...*memory.Link) (*grasp.Instance, *grasp.ASA) {
		g, err := grasp.New(grasp.Config{Plane: n.NewNode(name, links...), Dialogue: grasp.Dialogue{Silent: true}})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, g.Close()) })
		m.Watch(name, g)
		a, err := g.RegisterASA(evil)
		require.NoError(t, err)
		return g, a
	}
	_, asker := start(evil, lan, other)
	_, answerer := start("answers", lan)
	o := grasp.Objective{Name: evil, Neg: true, LoopCount: 6, Value: evil}
	state := grasp.Objective{Name: "state of " + evil, Synch: true, LoopCount: 6, Value: evil}
	for _, a := range []*grasp.ASA{asker, answerer} {
		require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{TTL: time.Hour}))
		require.NoError(t, a.RegisterObj(state, grasp.RegisterOptions{}))
		require.NoError(t, a.ListenSynchronize(state))
	}
	for _, source := range []grasp.Locator{
		{FQDN: "evil.example", Port: 80, Protocol: grasp.UDP}, {URI: "http://" + evil},
	} {
		require.NoError(t, answerer.Flood(time.Hour, grasp.TaggedObjective{Objective: state, Source: &source}))
	}
	require.NoError(t, answerer.Flood(0, grasp.TaggedObjective{Objective: state}))

	// A negotiation that goes on, one that waits for a listener, and one that
	// was declined for a reason.
	listen := func() *grasp.Session {
		s, _, err := answerer.ListenNegotiate(t.Context(), o)
		assert.NoError(t, err)
		return s
	}
	asked := func() {
		_, _, err := asker.ReqNegotiate(t.Context(), o, nil, time.Minute)
		assert.ErrorIs(t, err, grasp.ErrDeclined)
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	first := make(chan *grasp.Session)
	go func() { first <- listen() }()
	require.Eventually(t, func() bool { return answerer.Instance().Snapshot().Objectives[0].Negotiating }, time.Minute, time.Millisecond)
	asking.Go(asked)
	require.NoError(t, (<-first).EndNegotiate(false, evil))
	go func() { first <- listen() }()
	asking.Go(asked)
	goesOn := <-first
	defer func() { assert.NoError(t, goesOn.EndNegotiate(false, "")) }()
	require.NoError(t, goesOn.NegotiateWait(time.Minute))
	for _, say := range []string{evil, strings.Repeat("unbroken", 60), "\u202etfel ot thgir", "שלום hello"} {
		asker.Tprint(say)
		answerer.Tprint(say)
	}
	stranger, err := n.NewNode("stranger", lan).Open()
	require.NoError(t, err)
	defer stranger.Close()
	for range 3 {
		require.NoError(t, stranger.Send(stranger.Links()[0].Index, append([]byte{0x78, byte(len(evil))}, evil...)))
	}

	url, err := m.Listen("127.0.0.1:0")
	require.NoError(t, err)
	b.open(url)
	b.await("document.querySelectorAll('.bubble').length === 8 && document.querySelectorAll('.card').length === 2")
	b.screenshot("hostile-bubbles")
	assert.Equal(t, evil, b.texts("#caption")[0])
	assert.Contains(t, b.texts(".bubble p"), evil)
	assert.ElementsMatch(t, []string{"under way", "declined"}, b.texts(".card .state"))
	assert.Contains(t, b.texts(".steps .why"), ": "+evil)
	harmless(t, b)

	for _, name := range []string{evil, "answers"} {
		b.open(url + "#monitor?instance=" + neturl.QueryEscape(name))
		sameFigures(t, b, url, name)
		b.await("document.querySelectorAll('#messages li').length > 5")
		harmless(t, b)
	}
	b.screenshot("hostile-monitor")
	for _, path := range []string{"Links", "ASAs", "Objectives", "Sessions", "Floods"} {
		assert.NotEqual(t, []string{"0"}, b.texts("[data-figure='Counts."+path+"']"), path)
	}
	assert.Contains(t, b.texts("#tables td"), "invalid")

	// The filters do what they say, and the address has them.
	choose := func(field, value string) {
		eval[any](b, fmt.Sprintf("{ const f = document.getElementById('filter').elements[%q]; f.value = %q; f.dispatchEvent(new Event('change', {bubbles: true})); }", field, value))
	}
	choose("kind", "dropped")
	b.await("document.querySelectorAll('#messages li').length > 0 && document.querySelectorAll('#messages .kind:not(.dropped)').length === 0")
	choose("kind", "")
	choose("type", "M_WAIT")
	b.await("document.querySelectorAll('#messages li').length === 1 && document.querySelector('#messages b').textContent === 'M_WAIT'")
	assert.Contains(t, eval[string](b, "location.hash"), "type=M_WAIT")
	choose("peer", "nowhere")
	b.await("document.querySelectorAll('#messages li').length === 0 && !document.getElementById('no-messages').hidden")
	choose("peer", "")
	choose("type", "")
	choose("objective", state.Name)
	b.await(fmt.Sprintf("[...new Set([...document.querySelectorAll('#messages .objective')].map(e => e.textContent))].join() === %q", state.Name))

	choose("objective", "")
	b.await("document.querySelectorAll('#messages li').length > 5")
	t.Run("clicks", func(t *testing.T) {
		longtest.Need(t)
		clicks(t, b, o.Name, choose, func() {
			require.NoError(t, asker.Flood(time.Hour, grasp.TaggedObjective{Objective: state}))
		})
	})

	// The network's page shows it as text, too.
	b.open(url + "#network")
	b.await("document.querySelectorAll('#map .node').length === 2 && document.querySelectorAll('#floods .chip').length > 0")
	b.screenshot("hostile-network")
	harmless(t, b)
	b.open(url + "#monitor?instance=answers")
	b.await("document.querySelectorAll('#messages li').length > 5")

	// What is new comes at the top, live.
	require.NoError(t, asker.Flood(time.Hour, grasp.TaggedObjective{Objective: state}))
	b.await("document.querySelector('#messages b')?.textContent === 'M_FLOOD'")
	eval[any](b, "document.querySelector('#instances button').click()")
	sameFigures(t, b, url, evil)
	assert.Empty(t, b.complaints())
}

// clicks says that a click on a name leaves only what has to do with it, everywhere; that
// a text is searched for; and that what is paused stays as it is while there is a flood.
func clicks(t *testing.T, b *browser, name string, choose func(field, value string), flood func()) {
	t.Helper()
	shown := func(path, column string) []string {
		return b.texts(fmt.Sprintf("#tables .part-%s tr:not([hidden]) td[data-column=%s]", path, column))
	}
	b.await("document.querySelectorAll('#tables .part-objectives tbody tr:not([hidden])').length === 2")
	require.Contains(t, shown("objectives", "Name"), name)
	eval[any](b, fmt.Sprintf("[...document.querySelectorAll('#tables .part-objectives .pick')].find(e => e.textContent === %q).click()", name))
	b.await("document.querySelectorAll('#tables .part-objectives tbody tr:not([hidden])').length === 1")
	assert.Equal(t, []string{name}, shown("objectives", "Name"))
	assert.Empty(t, shown("floods", "Objective"))
	assert.NotEmpty(t, shown("sessions", "Objective"))
	b.await(fmt.Sprintf("[...new Set([...document.querySelectorAll('#messages .objective')].map(e => e.textContent))].join() === %q", name))
	eval[any](b, "document.querySelector('#tables .part-sessions td[data-column=ID] .pick').click()")
	b.await("new URLSearchParams(location.hash.split('?')[1]).get('session') && document.querySelectorAll('#messages li').length > 0 && new Set([...document.querySelectorAll('#messages [data-pick=session]')].map(e => e.textContent)).size === 1")
	eval[any](b, "document.querySelector('#logs [data-log=negotiations]').click()")
	b.await("document.querySelectorAll('#ladders .card').length === 1 && document.querySelectorAll('#ladders .said').length >= 2")
	harmless(t, b)
	eval[any](b, "document.querySelector('#logs [data-log=messages]').click()")
	eval[any](b, "document.getElementById('clear').click()")
	b.await("document.getElementById('clear').hidden && document.querySelectorAll('#tables .part-objectives tbody tr:not([hidden])').length === 2")
	b.await("document.querySelector('#messages .peer.pick') !== null")
	eval[any](b, "document.querySelector('#messages .peer.pick').click()")
	b.await("(() => { const host = new URLSearchParams(location.hash.split('?')[1]).get('peer'); return host && document.querySelectorAll('#messages li').length > 0 && [...document.querySelectorAll('#messages .peer')].every(e => e.textContent.replace(/%\\d+/, '').includes(host)); })()")
	choose("peer", "")
	choose("text", "AT BYTE 0")
	b.await("document.querySelectorAll('#messages li').length === 3 && document.querySelectorAll('#messages .error').length === 3")
	choose("text", "")
	b.await("document.querySelectorAll('#messages li').length > 5")

	// What is paused stays as it is.
	eval[any](b, "document.getElementById('pause').click()")
	assert.Equal(t, []string{"paused"}, b.texts("#connection"))
	before := b.texts("#messages li")
	flood()
	time.Sleep(time.Second)
	assert.Equal(t, before, b.texts("#messages li"))
	eval[any](b, "document.getElementById('pause').click()")
}

// When there are more ASAs than fit, the last lane is for the rest, and says who
// speaks; each bubble is in the lane of its ASA.
func TestBrowserManyASAs(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	b := newBrowser(t)
	g, err := grasp.New(grasp.Config{Plane: memory.NewNetwork(1).NewNode("x"), Dialogue: grasp.Dialogue{Silent: true}})
	require.NoError(t, err)
	defer g.Close()
	m := New(Config{})
	defer m.Close()
	m.Watch("node", g)
	var want []string
	for round := range 3 {
		for i := range 9 {
			name := fmt.Sprintf("Gray-%d", i+1)
			if round == 0 {
				_, err := g.RegisterASA(name)
				require.NoError(t, err)
			}
			m.all()[0].say(name, "My offer is in NZD")
			lane := fmt.Sprintf("%d: ", min(i, 4)+1)
			if i >= 4 {
				lane += name
			}
			want = append(want, lane+"My offer is in NZD")
		}
	}
	url, err := m.Listen("127.0.0.1:0")
	require.NoError(t, err)
	b.open(url)
	b.await("document.querySelectorAll('.bubble').length === 27")
	b.screenshot("many")
	assert.Equal(t, []string{"Gray-1node", "Gray-2node", "Gray-3node", "Gray-4node", "others"}, b.texts(".lane"))
	assert.Equal(t, want, eval[[]string](b, "[...document.querySelectorAll('.row')].map(r => r.style.getPropertyValue('--lane') - 1 + ': ' + r.lastChild.textContent)"))
	assert.True(t, eval[bool](b, `[...document.querySelectorAll('.row')].every(r => {
		const lane = document.querySelectorAll('.lane')[r.style.getPropertyValue('--lane') - 2].getBoundingClientRect();
		const bubble = r.lastChild.getBoundingClientRect();
		return Math.abs(lane.left - bubble.left) < 1 && bubble.right <= lane.right + 1 && bubble.width > 100;
	})`))
	assert.Empty(t, b.complaints())
}

// evil is a name, a value and a reason that would do harm if it were taken for
// more than text.
const evil = `<img src=x onerror=alert(1)>"'&amp;</script>`

// harmless says that nothing became an element that should not.
func harmless(t *testing.T, b *browser) {
	t.Helper()
	assert.Zero(t, eval[int](b, "document.querySelectorAll('img, i, iframe, object, style, main script').length"))
	everyWordThere(t, b)
}

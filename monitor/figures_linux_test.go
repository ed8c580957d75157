package monitor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
)

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
	deadline := time.Now().Add(time.Minute)
	last := wrong()
	for ; len(last) > 0 && time.Now().Before(deadline); last = wrong() {
		time.Sleep(100 * time.Millisecond)
	}
	require.Empty(t, last)
	require.Greater(t, len(got), 20)
	everyWordThere(t, b)
}

func snapshot(t *testing.T, url, name string) InstanceState {
	t.Helper()
	r, err := http.Get(url + "snapshot")
	require.NoError(t, err)
	defer r.Body.Close()
	var s State
	require.NoError(t, json.NewDecoder(r.Body).Decode(&s))
	for _, i := range s.Instances {
		if i.Name == name {
			return i
		}
	}
	require.Fail(t, "no instance "+name)
	return InstanceState{}
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
func figuresOf(t *testing.T, i InstanceState) map[string]figure {
	t.Helper()
	var fields []string
	for f := range reflect.TypeFor[grasp.Snapshot]().Fields() {
		fields = append(fields, f.Name)
	}
	require.ElementsMatch(t, []string{
		"Status", "Port", "Address", "Links", "Interfaces", "LinkTrouble", "Neighbourhood", "ASAs", "Objectives", "Locators", "Floods", "Sessions",
		"SessionIDs", "Searches", "Responses", "Streams", "Pending",
		"Sent", "Received", "Relayed", "Dropped",
	}, fields, "what a Snapshot has, the page shows")

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
	set("Status.Secure", either(s.Status.Secure, either(s.Status.Assumed, "assumed secure", "secure"), "not secure"))
	set("Status.Reason", s.Status.Reason)
	set("Closed", either(i.Closed, "closed", "running"))
	set("Address", either(s.Address.IsValid(), s.Address.String(), "link-local only"))
	set("Port", s.Port)
	set("SessionIDs", s.SessionIDs)
	set("Searches", s.Searches)
	set("Responses", s.Responses)
	set("Streams", s.Streams)
	set("Pending", s.Pending)
	set("LinkTrouble", either(s.LinkTrouble == "", "none", s.LinkTrouble))
	for name, n := range map[string]int{
		"Links": len(s.Links), "Interfaces": len(s.Interfaces), "ASAs": len(s.ASAs), "Objectives": len(s.Objectives),
		"Neighbours": len(s.Neighbours), "Refusals": len(s.Refusals),
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
	for n, l := range s.Interfaces {
		p := fmt.Sprintf("Interfaces.%d.", n)
		set(p+"Name", l.Name)
		set(p+"Index", l.Index)
		set(p+"State", l.State)
		set(p+"Detail", l.Detail)
	}
	at := func(t time.Time) string { return t.Local().Format(time.TimeOnly) }
	for n, e := range s.Neighbours {
		p := fmt.Sprintf("Neighbours.%d.", n)
		set(p+"Identity", e.Identity)
		set(p+"Link", e.Link)
		set(p+"Addr", e.Addr)
		set(p+"Since", at(e.Since))
		set(p+"Slow", e.Slow)
	}
	for n, r := range s.Refusals {
		p := fmt.Sprintf("Refusals.%d.", n)
		set(p+"Identity", either(r.Identity == "", "unknown", r.Identity))
		set(p+"Peer", r.Peer)
		set(p+"Reason", r.Reason)
		set(p+"Time", at(r.Time))
	}
	for reason, n := range s.Refused {
		set("Refused."+reason+".Reason", reason)
		set("Refused."+reason+".Count", n)
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
	for r, n := range s.Dropped {
		reason := r.String()
		set("Dropped."+reason+".Reason", reason)
		set("Dropped."+reason+".Count", n)
	}
	return out
}

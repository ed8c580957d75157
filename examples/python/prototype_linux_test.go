package python_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/dnssd/dnstest"
	"github.com/go-grasp/grasp/internal/graspybed"
	"github.com/go-grasp/grasp/internal/netbed"
)

// stage is a link on which programs of the prototype play, unchanged, on one of
// the engines.
type stage struct {
	*netbed.LAN
	settings []graspybed.Setting
	began    time.Time
	outputs  map[string]*graspybed.Output
}

// run runs an ASA in a node of its own.
func (s *stage) run(t *testing.T, name string, answers []string, more ...graspybed.Setting) *graspybed.Output {
	t.Helper()
	return s.runOn(t, s.Node(t, strings.ToLower(name)), name, answers, more...)
}

func (s *stage) runOn(t *testing.T, node *netbed.Node, name string, answers []string, more ...graspybed.Setting) *graspybed.Output {
	t.Helper()
	o := graspybed.RunASAWith(t, node, name, answers, append(more, s.settings...)...)
	s.outputs[node.Name] = o
	return o
}

// check checks that nothing went wrong with a program, but for questions that
// the test had no more answers for.
func (s *stage) check(t *testing.T) {
	t.Helper()
	for name, o := range s.outputs {
		unanswered := strings.Count(o.String(), "EOFError: EOF when reading a line")
		assert.Equal(t, unanswered, strings.Count(o.String(), "Traceback"), "%s: exceptions", name)
		assert.Empty(t, slices.DeleteFunc(o.Complaints(), func(line string) bool { return strings.Contains(line, "Traceback") }), name)
	}
}

// says waits until a program has said all these things, in any order.
func (s *stage) says(t *testing.T, name string, o *graspybed.Output, texts ...string) {
	t.Helper()
	for _, text := range texts {
		netbed.Eventually(t, 4*time.Minute, name+" says "+text, func() bool { return strings.Contains(o.String(), text) })
		t.Logf("%6.1f s: %s says %q", time.Since(s.began).Seconds(), name, text)
	}
}

// silent are the answers to the dialogue that the prototype begins with.
var silent = []string{"n", "n", "n", "n"}

// plays are the programs of the prototype, by those that belong together, with
// what they say on either engine.
var plays = []struct {
	name string
	play func(*testing.T, *stage)
}{
	{"briggs", func(t *testing.T, s *stage) {
		briggs := s.run(t, "Briggs", silent)
		s.says(t, "Briggs", briggs, "Ready to negotiate EX3")
		gray := s.run(t, "Gray", silent)
		s.says(t, "Gray", gray, "Synchronized EX2 [1, 'two', 3]", "Negotiation succeeded", "Flooded EX1 from")
	}},
	{"mvfile", func(t *testing.T, s *stage) {
		from, to := t.TempDir(), t.TempDir()
		data := []byte(strings.Repeat("a file of some length\n", 5000))
		require.NoError(t, os.WriteFile(filepath.Join(from, "file"), data, 0o600))
		require.NoError(t, os.Mkdir(filepath.Join(to, "got"), 0o700))
		pusher := s.run(t, "pusher", nil, graspybed.Dir(from))
		s.says(t, "pusher", pusher, "pusher is listening")
		getter := s.run(t, "getter", []string{"file", "nothing"}, graspybed.Dir(to))
		s.says(t, "getter", getter, "Transfer succeeded", "No such file")
		s.says(t, "pusher", pusher, "Ended transfer")
		got, err := os.ReadFile(filepath.Join(to, "got", "file"))
		require.NoError(t, err)
		assert.Equal(t, string(data), string(got))
	}},
	{"pfxm3", func(t *testing.T, s *stage) { prefixes(t, s, "pfxm3") }},
	{"pfxm4", func(t *testing.T, s *stage) { prefixes(t, s, "pfxm4") }},
	{"brski", func(t *testing.T, s *stage) {
		reggie, procksy, pledji := s.run(t, "Reggie", nil), s.run(t, "Procksy", nil), s.run(t, "Pledji", nil)
		s.says(t, "Procksy", procksy, "Got AN_join_registrar at ", "Flooding AN_proxy ::")
		s.says(t, "Pledji", pledji, "AN_proxy flooded from fe80::", "Chose proxy: address fe80::")
		s.says(t, "Reggie", reggie, "AN_join_registrar ASA:")
		assert.Regexp(t, `port 1180\d method TCP`, pledji.String())
	}},
	{"dnssd", func(t *testing.T, s *stage) {
		graspybed.NeedsDNSPython(t)
		node := s.Node(t, "getdnssd2")
		server := serveDNS(t, node)
		get := s.runOn(t, node, "GetDNSSD2", silent, graspybed.DNS(server))
		s.says(t, "GetDNSSD2", get, "GetDNSSD2 is listening")
		ask := s.run(t, "AskDNSSD2", silent)
		s.says(t, "AskDNSSD2", ask, "req_negotiate error: Service not found", "First reply: {'@rfcXXXX'", "End of replies", "3: 'Web'")
		assert.Contains(t, ask.String(), "7: {'path': '/index'}, 9: [['Internet', [105, 'web.dns-sd.org.', 17, 80]]]")
	}},
	{"chat", func(t *testing.T, s *stage) {
		// On its own engine what is sent at once after a request is lost.
		typing := graspybed.Typing(500 * time.Millisecond)
		server := s.run(t, "testserver", append(silent, "Grüße", "good bye"), typing)
		s.says(t, "testserver", server, "Ready to negotiate EX3")
		client := s.run(t, "testclient", append(silent, "hello", "how are you?"), typing)
		s.says(t, "testserver", server, "Got message: Start", "Peer said hello", "Peer said how are you?")
		s.says(t, "testclient", client, "Peer replied: Grüße", "Peer replied: good bye")
	}},
	{"grasptests", func(t *testing.T, s *stage) { suite(t, s, "grasptests") }},
	{"graspitests", func(t *testing.T, s *stage) { suite(t, s, "graspitests") }},
}

func prefixes(t *testing.T, s *stage, name string) {
	t.Helper()
	origin := s.run(t, name, append([]string{"y", "", "n", "n"}, silent...))
	s.says(t, "origin", origin, "Ready to negotiate PrefixManager", "Listening for synch requests")
	other := s.run(t, name, append([]string{"n", "", "y"}, silent...))
	s.says(t, "delegator", other, "Results for PrefixManager.Params", "Obtained 2001:db8:", "Obtained 10.")
	s.says(t, "origin", origin, "Negotiation succeeded")
}

func suite(t *testing.T, s *stage, name string) {
	t.Helper()
	o := graspybed.RunSuite(t, s.Node(t, name), name, s.settings...)
	s.says(t, name, o, graspybed.SuiteEnded)
	for _, text := range []string{
		"ASA-1 and EX1 Registered OK", "No EX1 discovery response", "Test ASA: grasp._test_divert True", "Boot discovery result fd00::1",
		"Objective already registered", "Listen synch OK", "Boot value [1, 'two', 3]",
		"Flooded synch obj2 ['Diamonds', 'Rubies']", "Flooded synch obj3 b'8464536f6d6568656d6265646465646443424f5283010203'",
		"Synch fail test_obj (should fail) Not flooded and no reply to discovery", "Synch boot2_obj Boot [1, 'two', 3]",
		"Flooded CBOR Intent.PrefixManager ['Some', 'embedded', 'CBOR', [1, 2, 3]]",
		"Deregistered Boot", "Synch fail boot2_obj (should fail) Synchronization peer not listening", "Exiting ASA test thread",
		"Discovered locator fd00::1", "Source was b'fd000000000000000000000000000001'",
	} {
		assert.Contains(t, o.String(), text)
	}
	for _, text := range []string{"Traceback", "No Boot discovery response", "Synch fail boot2_obj S", "Synch fail obj2", "Synch fail obj3"} {
		assert.NotContains(t, o.String(), text)
	}
	t.Log(o)
}

// serveDNS serves the example zone in a node, and returns where.
func serveDNS(t *testing.T, node *netbed.Node) string {
	t.Helper()
	const addr = "127.0.0.1:53"
	node.Do(t, func() {
		udp, err := net.ListenPacket("udp4", addr)
		require.NoError(t, err)
		tcp, err := net.Listen("tcp4", addr)
		require.NoError(t, err)
		dnstest.Example().Serve(t, udp, tcp)
	})
	return addr
}

// engines are the prototype's own and this one.
func engines(t *testing.T) map[string][]graspybed.Setting {
	t.Helper()
	here, err := os.Getwd()
	require.NoError(t, err)
	return map[string][]graspybed.Setting{"python": nil, "go": {graspybed.OnGo(library(t), here)}}
}

// The programs and the test suites of the prototype do on this engine what they
// do on their own.
func TestInteropPrototype(t *testing.T) {
	graspybed.Checkout(t)
	if !netbed.Enter(t) {
		return
	}
	on := engines(t)
	for i, p := range plays {
		for name, settings := range on {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				lan := netbed.NewLAN(t, fmt.Sprint("py", i, name[:1]), true)
				s := &stage{lan, settings, time.Now(), make(map[string]*graspybed.Output)}
				p.play(t, s)
				s.check(t)
			})
		}
	}
}

package acp_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// batch runs commands of ip at once, with no process to start between them.
func batch(t *testing.T, commands ...string) {
	t.Helper()
	file := t.TempDir() + "/batch"
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(commands, "\n")+"\n"), 0o600))
	netbed.IP(t, "-batch", file)
}

// TestTrap03SameIndexAndAddress: an interface that was gone for a moment and
// is back with its index, its name and its addresses has no membership, and
// nothing of it differs but when it got its addresses.
func TestTrap03SameIndexAndAddress(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	allow4(t)
	const mac0, mac1 = "02:00:00:00:00:77", "02:00:00:00:00:78"
	create := []string{
		"link add va0 index 77 address " + mac0 + " type veth peer name va1 address " + mac1,
		"link set va0 up",
		"link set va1 up",
		"addr add 10.0.0.1/24 dev va0",
		"addr add 10.0.0.2/24 dev va1",
	}
	for _, test := range []struct {
		name string
		near acp.Plane
		far  *acp.Layer2
		no6  string
	}{
		{"Events", on("va0"), on("va1"), "0"},
		{"NoEvents", acp.WithoutEvents(*on("va0")), on("va1"), "0"},
		{"IPv4", on4("va0"), on4("va1"), "1"},
		{"IPv4NoEvents", acp.WithoutEvents(*on4("va0")), on4("va1"), "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			netbed.Sysctl(t, "net/ipv6/conf/default/disable_ipv6", test.no6)
			batch(t, create...)
			defer netbed.Delete(t, "va0")
			e := join(t, test.near)
			for range longtest.Scaled(5) {
				before := must(t, e, "va0")
				// Linux stamps addresses in steps of 10 ms, and by nothing else is the new
				// interface another one.
				time.Sleep(20 * time.Millisecond)
				batch(t, append([]string{"link del va0"}, create...)...)
				start := time.Now()
				far := join(t, test.far)
				from := reach(t, far, "va1", e, patience)
				t.Logf("heard after %v", time.Since(start))
				assert.Equal(t, 77, from.Link)
				assert.Equal(t, test.no6 == "1", from.Addr.Addr().Is4())
				assert.Equal(t, before, must(t, e, "va0"), "nothing of the link differs")
				reach(t, e, "va0", far, patience)
				require.NoError(t, far.Close())
			}
		})
	}
}

// TestLayer2Renumbering: when the address by which this node is reached is
// replaced, the new one is given out at once (D-19, G-03).
func TestLayer2Renumbering(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	e := open(t, on4("va0"))
	had := "2001:db8:ffff::1/64"
	netbed.AddAddr(t, "va0", had)
	for _, prefix := range []string{
		"2001:db8:1::1/64", "fd00:1::1/64", "2001:db8:2::1/64", "192.0.2.1/24", "10.0.0.1/8", "2001:db8:3::1/64",
	} {
		forgetChange(e)
		batch(t, "addr del "+had+" dev va0", "addr add "+prefix+" dev va0")
		start := time.Now()
		want := netip.MustParsePrefix(prefix).Addr()
		netbed.Eventually(t, patience, "the address is "+prefix, func() bool { return e.Addr() == want })
		t.Logf("%s after %v", prefix, time.Since(start))
		awaitChange(t, e)
		had = prefix
	}
}

// TestLayer2Flapping: a link that goes down and up a hundred times, while both
// sides send, receive and dial, leaves nothing behind and works in the end.
func TestLayer2Flapping(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	veth4(t, "vb0", "10.0.0.1/24", "vb1", "10.0.0.2/24")
	a, b := join(t, on4("va0", "vb0")), join(t, on4("va1", "vb1"))
	use(t, a, "va0", "vb0")
	use(t, b, "va1", "vb1")
	reach(t, a, "va0", b, patience)

	var wg sync.WaitGroup
	var sent, heard, dialed atomic.Int64
	busy := func() (stop func()) {
		done := make(chan struct{})
		for from, to := range map[*member]*member{&a: &b, &b: &a} {
			wg.Go(func() {
				for tick := time.Tick(time.Millisecond); ; {
					select {
					case <-done:
						return
					case r := <-to.Heard:
						heard.Add(1)
						if n := heard.Load(); n%16 == 0 {
							if s, err := to.Dial(t.Context(), r.From.Addr); err == nil {
								dialed.Add(1)
								_ = s.Close()
							}
						}
					case <-tick:
						for _, l := range from.Links() {
							err := from.Send(l.Index, []byte("busy"))
							assert.NotErrorIs(t, err, net.ErrClosed)
							if err == nil {
								sent.Add(1)
							}
						}
					}
				}
			})
		}
		return func() {
			close(done)
			wg.Wait()
		}
	}
	accept := func(m member) {
		for {
			s, err := m.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_ = s.Close()
			}
		}
	}
	go accept(a)
	go accept(b)
	busy()() // what comes but once
	leaked := leaks(t)
	stop := busy()
	for i := range longtest.Scaled(100) {
		for down, other := range map[string]string{"va0": "vb0", "vb1": "va0"} {
			netbed.Down(t, down)
			if i%3 == 0 { // sometimes it is noticed in between, sometimes not
				use(t, a, other)
			}
			netbed.Up(t, down)
			if i%3 == 0 {
				use(t, a, "va0", "vb0")
			}
		}
	}
	netbed.Eventually(t, patience, "much is heard, and some dialed", func() bool { return heard.Load() > 200 && dialed.Load() > 10 })
	stop()
	t.Logf("sent %d, heard %d, dialed %d", sent.Load(), heard.Load(), dialed.Load())
	assert.False(t, leaked(patience))
	for _, name := range []string{"va0", "vb0"} {
		reach(t, a, name, b, patience)
	}
	for _, name := range []string{"va1", "vb1"} {
		reach(t, b, name, a, patience)
	}
}

// TestLayer2StormOfChanges: however much goes on, looks are bounded, and the
// last state is the one that is seen.
func TestLayer2StormOfChanges(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	netbed.VethPair(t, "va0", "va1")
	var looks atomic.Int64
	e := open(t, acp.Counted(&looks, *on("va0")))
	var storm []string
	for range 500 {
		storm = append(storm, "addr add fd00::1/64 dev va1 nodad", "addr del fd00::1/64 dev va1",
			"link set va1 mtu 1400", "link set va1 mtu 1500")
	}
	storm = append(storm, "addr add fd00::2/64 dev va1 nodad")
	start, before := time.Now(), looks.Load()
	for time.Since(start) < time.Second {
		batch(t, storm...)
		netbed.Eventually(t, patience, "the last address", func() bool { return e.Addr().String() == "fd00::2" })
		netbed.IP(t, "addr", "del", "fd00::2/64", "dev", "va1")
	}
	count := looks.Load() - before
	took := time.Since(start)
	t.Logf("%d looks in %v", count, took)
	assert.LessOrEqual(t, count, int64(took/(20*time.Millisecond))+1)
	n, since := looks.Load(), time.Now()
	netbed.Eventually(t, patience, "it comes to rest", func() bool {
		if now := looks.Load(); now != n {
			n, since = now, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond
	})
}

package adversary

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wire"
)

// flooder is a host on the victim's link, without a certificate or a password, that
// sends whatever it likes.
type flooder struct {
	t      *testing.T
	node   *netbed.Node
	victim netip.AddrPort // at its global address
	sent   atomic.Uint64
	over   context.Context
	stop   context.CancelFunc
	all    sync.WaitGroup
}

// flooderAddrs is how many addresses the host has, on the link's global network.
const flooderAddrs = 256

func floodAddr(i int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:1::bad:%x", 1+i))
}

// The honest and the victim on the same network.
const (
	goodGlobal   = "2001:db8:1::2"
	victimGlobal = "2001:db8:1::1"
)

func newFlooder(v *victim) *flooder {
	v.Helper()
	f := &flooder{t: v.T, node: netbed.NewNode(v.T, "flooder")}
	f.over, f.stop = context.WithCancel(v.Context())
	netbed.VethPair(v.T, "p-flood", "flood")
	netbed.IP(v.T, "link", "set", "p-flood", "master", "bridge")
	f.node.MoveLink(v.T, "flood")
	f.node.Sysctl(v.T, "net/ipv4/ip_local_port_range", "1024 65535")
	for i := range flooderAddrs {
		f.node.AddAddr(v.T, "flood", floodAddr(i).String()+"/64")
	}
	netbed.AddAddr(v.T, "good", goodGlobal+"/64")
	v.node.AddAddr(v.T, "victim", victimGlobal+"/64")
	f.victim = netip.AddrPortFrom(netip.MustParseAddr(victimGlobal), v.state().At.Port())
	v.Cleanup(f.end)
	return f
}

func (f *flooder) end() {
	f.stop()
	f.all.Wait()
}

// paced calls f so many times a second, or as often as it can.
func (f *flooder) paced(perSecond int, do func(n int)) {
	start := time.Now()
	for n := 0; f.over.Err() == nil; {
		due := int(time.Since(start).Seconds() * float64(perSecond))
		if n >= due {
			pauseFor(f.over, time.Millisecond)
		}
		for ; n < due && f.over.Err() == nil; n++ {
			do(n)
		}
	}
}

// datagrams multicasts messages, each by another address where nobody is.
func (f *flooder) datagrams(perSecond int, message func(from netip.Addr) []byte) {
	fd, mac := f.node.PacketSocket(f.t, "flood")
	f.all.Go(func() {
		defer unix.Close(fd)
		f.paced(perSecond, func(int) {
			b := [16]byte{0: 0xfe, 1: 0x80, 8: 0x0b, 9: 0xad}
			binary.BigEndian.PutUint32(b[12:], mrand.Uint32())
			from := netip.AddrFrom16(b)
			at := netip.AddrPortFrom(from, uint16(1024+mrand.IntN(60_000)))
			if unix.Send(fd, netbed.Datagram(mac, nil, at, netip.AddrPortFrom(acp.Group6(), acp.Port), message(from)), 0) == nil {
				f.sent.Add(1)
			}
		})
	})
}

// connections connects to the victim from a number of addresses, and says nothing.
// Of those that it has begun it leaves the oldest, so that there are always many.
func (f *flooder) connections(perSecond, addrs int) {
	const most = 8192
	var to unix.SockaddrInet6
	to.Addr, to.Port = f.victim.Addr().As16(), int(f.victim.Port())
	f.all.Go(func() {
		f.node.Do(f.t, func() {
			var begun []int
			defer func() {
				for _, fd := range begun {
					_ = unix.Close(fd)
				}
			}()
			f.paced(perSecond, func(n int) {
				if len(begun) >= most {
					_ = unix.Close(begun[0])
					begun = begun[1:]
				}
				fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
				if err != nil {
					return
				}
				begun = append(begun, fd)
				// Or each would leave its port behind for a minute.
				_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
				_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
				if unix.Bind(fd, &unix.SockaddrInet6{Addr: floodAddr(n % addrs).As16()}) != nil {
					return
				}
				if err := unix.Connect(fd, &to); err == nil || err == unix.EINPROGRESS {
					f.sent.Add(1)
				}
			})
		})
	})
}

// encoded encodes a message, which never fails.
func encoded(m interface {
	Append([]byte) ([]byte, error)
}) []byte {
	raw, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return raw
}

// flood is an attack by sheer amount.
type flood struct {
	name      string
	perSecond int
	begin     func(f *flooder, perSecond int)
}

var floods = []flood{
	{"nonsense", 2000, func(f *flooder, perSecond int) {
		noise := make([]byte, 200)
		_, _ = rand.Read(noise)
		f.datagrams(perSecond, func(netip.Addr) []byte { return noise })
	}},
	{"discoveries", 2000, func(f *flooder, perSecond int) {
		f.datagrams(perSecond, func(from netip.Addr) []byte {
			o := wire.Objective{Name: called.Name, Flags: wire.FlagDisc | wire.FlagNeg, LoopCount: 6, Value: []byte{0xf6}}
			return encoded(&wire.Discovery{SessionID: mrand.Uint32(), Initiator: from, Objective: o})
		})
	}},
	{"floods", 2000, func(f *flooder, perSecond int) {
		f.datagrams(perSecond, func(from netip.Addr) []byte {
			o := wire.Objective{Name: fmt.Sprint("o", mrand.Uint32()), Flags: wire.FlagSynch, LoopCount: 1, Value: []byte{1}}
			return encoded(&wire.Flood{
				SessionID: mrand.Uint32(), Initiator: from, TTL: 60_000,
				Objectives: []wire.Flooded{{Objective: o}},
			})
		})
	}},
	{"connections by one address", 7000, func(f *flooder, perSecond int) { f.connections(perSecond, 1) }},
	{"connections by 256 addresses", 7000, func(f *flooder, perSecond int) { f.connections(perSecond, flooderAddrs) }},
}

// find discovers the victim anew, if it is not to be found at a known address, and
// negotiates with it.
func find(ctx context.Context, a *grasp.ASA, at *grasp.Locator) error {
	if at == nil {
		found, err := a.Discover(ctx, called, netbed.Patience, grasp.DiscoverOptions{Flush: true, First: true})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("nothing found")
		}
		at = &found[0]
	}
	s, _, err := a.ReqNegotiate(ctx, called, at, netbed.Patience)
	if s != nil {
		_ = s.Close()
	}
	return err
}

// An outsider floods the link with datagrams, and a member with connections, from
// addresses of the link's own network. No honest call fails, with or without a
// discovery. With -full it is tried in all ways, and for 200 calls each.
func TestFloods(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	on, tried, calls, seconds := planes[2:], floods[len(floods)-1:], 20, 1
	if *full {
		on, tried, calls, seconds = planes, floods, 200, 10
	}
	for _, plane := range on {
		for _, attack := range tried {
			t.Run(plane+"/"+attack.name, func(t *testing.T) {
				v := newVictim(t, victimConfig{Plane: plane, IdleTimeout: 10 * time.Second})
				f := newFlooder(v)
				a := v.caller()
				require.Zero(t, v.call(a, 1))
				start := time.Now()
				perSecond := attack.perSecond
				if !*full {
					perSecond = min(perSecond, 2000)
				}
				attack.begin(f, perSecond)
				netbed.Eventually(t, time.Minute, "the attack is under way", func() bool {
					return time.Since(start) > time.Duration(seconds)*time.Second && f.sent.Load() > 1000
				})
				at := grasp.NewLocator(f.victim)
				failed, descriptors := 0, 0
				for i := range calls {
					peer := &at
					if i%2 == 0 {
						peer = nil
					}
					if err := find(t.Context(), a, peer); err != nil {
						t.Logf("call %d failed: %v", i, err)
						failed++
					}
					if i%10 == 0 {
						descriptors = max(descriptors, v.state().Descriptors)
					}
				}
				rate := float64(f.sent.Load()) / time.Since(start).Seconds()
				s := v.state()
				t.Logf("%s, %s: %.0f a second, %d of %d calls failed, %d MiB, %d descriptors, dropped %v",
					plane, attack.name, rate, failed, calls, s.Memory>>20, max(descriptors, s.Descriptors), s.Dropped)
				f.end()
				require.Zero(t, failed, "honest calls that failed")
			})
		}
	}
}

// A node that comes to Layer2 while an outsider floods the link with discoveries in the
// names of hosts that are not there: nobody can tell it from those, but it asks again, and
// is answered.
func TestNewcomerInFlood(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	v := newVictim(t, victimConfig{Plane: "layer2", IdleTimeout: 10 * time.Second})
	f := newFlooder(v)
	floods[slices.IndexFunc(floods, func(a flood) bool { return a.name == "discoveries" })].begin(f, 2000)
	netbed.Eventually(t, time.Minute, "the attack is under way", func() bool { return f.sent.Load() > 3000 })
	a := v.caller()
	start := time.Now()
	found, err := a.Discover(t.Context(), called, time.Minute, grasp.DiscoverOptions{First: true})
	require.NoError(t, err)
	require.NotEmpty(t, found)
	t.Logf("found after %.2f s, %d sent", time.Since(start).Seconds(), f.sent.Load())
	f.end()
}

package wrongpeer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// Config says what the peer has, and what is wrong with it.
type Config struct {
	Links            []string
	Negotiate, Synch string // names of objectives; none: it has none
	DULL             bool
	Wrong            Flaw // empty: nothing
	// Second is how long a second of its timers lasts; 0 means a second.
	Second time.Duration
}

// Peer is a running peer.
type Peer struct {
	cfg   Config
	links []*link
	ended sync.WaitGroup
	rate  *rate.Limiter
	dead  atomic.Bool

	mu       sync.Mutex // guards all following fields
	seen     map[key]*seen
	cache    map[string][]cached
	sessions map[key]bool
	asked    map[string]int
	count    int // of all discoveries and floods
	begun    int // of sessions
	conns    map[net.Conn]bool
	over     bool
	one      sync.Mutex // held by the session that runs, with FlawOneAtATime
}

// key tells sessions apart.
type key struct {
	kind      uint64
	id        uint64
	initiator string
	link      string // with FlawRelayBackRound
}

// seen is a discovery or flood that was relayed.
type seen struct {
	at   time.Time
	name string
	from netip.AddrPort
	link *link
}

// cached is a locator that was learned.
type cached struct {
	locator []byte
	link    *link
	expires time.Time
}

// link is a link of the peer. It multicasts from a port at which it also
// accepts connections.
type link struct {
	ifi  *net.Interface
	addr netip.Addr
	in   *ipv6.PacketConn
	out  *net.UDPConn
	odd  *net.UDPConn // where nobody listens by TCP
	tcp  *net.TCPListener
}

func (l *link) port() uint16 { return uint16(l.tcp.Addr().(*net.TCPAddr).Port) }

const port = 7017

var group = netip.MustParseAddr("ff02::13")

// Start starts a peer.
func Start(cfg Config) (*Peer, error) {
	if cfg.Second == 0 {
		cfg.Second = time.Second
	}
	p := &Peer{
		cfg: cfg, rate: rate.NewLimiter(100, 300),
		seen: make(map[key]*seen), cache: make(map[string][]cached), sessions: make(map[key]bool),
		asked: make(map[string]int), conns: make(map[net.Conn]bool),
	}
	for _, name := range cfg.Links {
		l, err := open(name)
		if err != nil {
			p.Close()
			return nil, err
		}
		p.links = append(p.links, l)
	}
	for _, l := range p.links {
		p.ended.Go(func() { p.receive(l) })
		p.ended.Go(func() { p.accept(l) })
	}
	if cfg.DULL {
		p.ended.Go(p.announce)
	}
	return p, nil
}

// open opens the sockets of a link.
func open(name string) (*link, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, err
	}
	l := &link{ifi: ifi}
	for _, a := range addrs {
		if q, err := netip.ParsePrefix(a.String()); err == nil && q.Addr().Is6() && q.Addr().IsLinkLocalUnicast() {
			l.addr = q.Addr().WithZone(name)
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) })
		if failed != nil {
			return failed
		}
		return err
	}}
	in, err := config.ListenPacket(context.Background(), "udp6", netip.AddrPortFrom(group, port).String())
	if err != nil {
		return nil, err
	}
	l.in = ipv6.NewPacketConn(in)
	if err := errors.Join(l.in.JoinGroup(ifi, &net.UDPAddr{IP: group.AsSlice()}), l.in.SetControlMessage(ipv6.FlagDst, true)); err != nil {
		return nil, err
	}
	at := net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.addr, 0))
	for l.tcp, err = net.ListenTCP("tcp6", at); errors.Is(err, unix.EADDRNOTAVAIL); l.tcp, err = net.ListenTCP("tcp6", at) {
		time.Sleep(10 * time.Millisecond) // the address of a new link is not ready yet
	}
	if err != nil {
		return nil, err
	}
	if l.out, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.addr, l.port()))); err != nil {
		return nil, err
	}
	l.odd, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.addr, 0)))
	return l, err
}

// Close ends the peer.
func (p *Peer) Close() {
	p.mu.Lock()
	p.over = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	for _, l := range p.links {
		for _, c := range []interface{ Close() error }{l.in, l.tcp, l.out, l.odd} {
			_ = c.Close()
		}
	}
	p.ended.Wait()
}

// is reports whether this is what is wrong.
func (p *Peer) is(f Flaw) bool { return p.cfg.Wrong == f }

// die ends all serving, if that is what is wrong.
func (p *Peer) die(f Flaw) {
	if p.is(f) {
		p.dead.Store(true)
	}
}

// multicast sends to the group on a link.
func (p *Peer) multicast(l *link, b []byte) {
	out := l.out
	if p.is(FlawRelayPortClosed) {
		out = l.odd
	}
	_, _ = out.WriteToUDPAddrPort(b, netip.AddrPortFrom(group.WithZone(l.ifi.Name), port))
}

// announce floods what a DULL instance has.
func (p *Peer) announce() {
	for id := uint64(1); ; id++ {
		loop := 1
		if p.is(FlawDULLFloods6) {
			loop = 6
		}
		for _, l := range p.links {
			ini := l.addr.As16()
			p.multicast(l, encode(9, id, ini[:], 180000, list{list{p.cfg.Synch, 4, loop, ""}, list{103, ini[:], 6, l.port()}}))
		}
		time.Sleep(p.cfg.Second)
		p.mu.Lock()
		over := p.over
		p.mu.Unlock()
		if over {
			return
		}
	}
}

// receive takes datagrams.
func (p *Peer) receive(l *link) {
	buf := make([]byte, 1<<16)
	for {
		n, cm, src, err := l.in.ReadFrom(buf)
		if err != nil {
			return
		}
		from := src.(*net.UDPAddr).AddrPort()
		if cm != nil && !cm.Dst.IsMulticast() && p.is(FlawDeafToUnicast) {
			continue
		}
		if p.dead.Load() || from.Port() == l.port() && from.Addr() == l.addr || p.is(FlawSmallBuffer) && n > 1024 {
			continue
		}
		m, ok := p.parse(bytes.Clone(buf[:n]))
		if !ok {
			p.die(FlawDiesOfRubbish)
			if p.is(FlawInvalidToMulticast) && m.id() != 0 {
				p.answer(l, from, encode(99, m.id()))
			}
			continue
		}
		p.datagram(l, from, m)
	}
}

// datagram handles what came by UDP.
func (p *Peer) datagram(l *link, from netip.AddrPort, m message) {
	p.mu.Lock()
	p.count++
	tired := p.count > 150
	p.mu.Unlock()
	if tired {
		p.die(FlawTires)
	}
	switch {
	case m.kind == 1:
		p.ended.Go(func() { p.discovery(l, from, m) })
	case m.kind == 9:
		p.flood(l, from, m)
	case m.kind == 0 && p.is(FlawAnswersNoop):
		p.answer(l, from, encode(0))
	case m.kind > 9 && p.is(FlawAnswersUnknownType):
		p.answer(l, from, encode(99, m.id()))
	case m.kind != 0 && p.is(FlawInvalidToMulticast):
		p.answer(l, from, encode(99, m.id()))
	}
}

// answer sends a message by a connection to the source of a datagram, and
// closes it.
func (p *Peer) answer(l *link, to netip.AddrPort, b []byte) {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.Dial("tcp6", to.String())
	if err != nil {
		p.die(FlawDiesOfRefusal)
		return
	}
	_, _ = c.Write(b)
	if p.is(FlawKeepsResponseOpen) && p.keep(c) {
		return
	}
	_ = c.Close()
}

// keep keeps a connection open until the peer ends.
func (p *Peer) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.conns[c] = true
	}
	return !p.over
}

// name reports whether a name is that of an objective that the peer has.
func (p *Peer) name(own, got string) bool {
	switch {
	case own == "":
		return false
	case p.is(FlawNameFold):
		return equalFold(own, got)
	case p.is(FlawNamePrefix):
		return len(got) >= len(own) && got[:len(own)] == own
	}
	return own == got
}

func (p *Peer) has(name string) bool {
	return p.name(p.cfg.Negotiate, name) || p.name(p.cfg.Synch, name) || p.is(FlawAnswersEverything)
}

// String is for messages.
func (p *Peer) String() string { return fmt.Sprintf("peer with the flaw %q", p.cfg.Wrong) }

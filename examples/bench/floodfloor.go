package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

// The floor of floods is bare multicast datagrams with the same bytes, which the sinks
// read and count. With plane quads they are encrypted one by one, and decrypted.

// floorGroup and floorGroup4 are where the datagrams of the floor go: groups that nobody
// else joins.
var (
	floorGroup  = netip.MustParseAddrPort("[ff12::13]:7019")
	floorGroup4 = netip.MustParseAddrPort("239.255.70.19:7019")
)

// datagram returns a flood as it is sent.
func datagram(from netip.Addr, n int) ([]byte, error) {
	return floodOf(from, n, append([]byte{0x58, 64}, floodValue(n)...)).Append(nil)
}

// floodOf returns a flood of a value.
func floodOf(from netip.Addr, n int, value []byte) *wire.Flood {
	o := flooded(n)
	return &wire.Flood{
		SessionID: 1 << 31, Initiator: from, TTL: uint32(floodTTL.Milliseconds()),
		Objectives: []wire.Flooded{{Objective: wire.Objective{
			Name: o.Name, Flags: wire.FlagSynch, LoopCount: o.LoopCount, Value: value,
		}}},
	}
}

// sealer does to datagrams what the plane does: it encrypts them as plane quads does
// (AES-256, CBC, PKCS#7), under a key of its own, or nothing.
type sealer struct {
	block cipher.Block // nil: nothing
	iv    [aes.BlockSize]byte
}

func newSealer(p *cli.Program) (*sealer, error) {
	switch p.PlaneName {
	case cli.PlaneLayer2:
		return &sealer{}, nil
	case cli.PlaneQUADS:
		block, err := aes.NewCipher(make([]byte, 32))
		return &sealer{block: block}, err
	}
	return nil, errors.New("the floor of floods is there for the planes layer2 and quads")
}

// seal returns a datagram as it is sent.
func (s *sealer) seal(msg []byte) []byte {
	if s.block == nil {
		return msg
	}
	padding := aes.BlockSize - len(msg)%aes.BlockSize
	sealed := append(msg[:len(msg):len(msg)], bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(s.block, s.iv[:]).CryptBlocks(sealed, sealed)
	return sealed
}

// open returns a datagram as it was, without what padded it. It changes what came.
func (s *sealer) open(came []byte) []byte {
	if s.block == nil || len(came) == 0 || len(came)%aes.BlockSize != 0 {
		return came
	}
	cipher.NewCBCDecrypter(s.block, s.iv[:]).CryptBlocks(came, came)
	return came[:max(len(came)-int(came[len(came)-1]), 0)]
}

// floorSender returns a function that sends a datagram on each link.
func floorSender(links []acp.Link, n int, how *sealer) (func() error, error) {
	var conns []net.Conn
	for _, l := range links {
		c, err := dialFloor(l)
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	if len(conns) == 0 {
		return nil, errors.New("no link")
	}
	msg, err := datagram(links[0].Addr.WithZone(""), n)
	return func() error {
		sealed := how.seal(msg)
		for _, c := range conns {
			if _, err := c.Write(sealed); err != nil {
				return err
			}
		}
		return nil
	}, err
}

// dialFloor returns a socket that sends to the group on a link: over IPv4, which has no
// zones, its own address picks the link.
func dialFloor(l acp.Link) (net.Conn, error) {
	if l.Addr.Is4() {
		return net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Addr, 0)), net.UDPAddrFromAddrPort(floorGroup4))
	}
	return net.Dial("udp6", netip.AddrPortFrom(floorGroup.Addr().WithZone(l.Name), floorGroup.Port()).String())
}

// counter counts the datagrams that come, and when the last one did.
type counter struct {
	mu      sync.Mutex // guards all following fields
	n       int
	last    time.Time
	example []byte // the first one
}

func (c *counter) add(raw []byte) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		c.example = bytes.Clone(raw)
	}
	c.last = now
	c.n++
}

// lately returns how many have come, and when the last one did.
func (c *counter) lately() (int, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n, c.last
}

// tally returns how many there were, by what the first one says, and how many of
// them came.
func (c *counter) tally() (sent, came int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		return 0, 0, nil
	}
	m, err := wire.Parse(c.example, wire.Limits{})
	if err != nil {
		return 0, 0, err
	}
	f, ok := m.(*wire.Flood)
	if !ok || len(f.Objectives) == 0 || len(f.Objectives[0].Objective.Value) != 2+len(floodValue(0)) {
		return 0, 0, fmt.Errorf("%x is none of the floods of bench", c.example)
	}
	sent = int(binary.BigEndian.Uint32(f.Objectives[0].Objective.Value[2:]))
	return sent, c.n, nil
}

// floorReceiver counts the datagrams that come by a link until it is stopped.
func floorReceiver(l acp.Link, how *sealer, count *counter) (stop func(), err error) {
	link, err := net.InterfaceByIndex(l.Index)
	if err != nil {
		return nil, err
	}
	network, group := "udp6", floorGroup
	if l.Addr.Is4() {
		network, group = "udp4", floorGroup4
	}
	c, err := net.ListenMulticastUDP(network, link, net.UDPAddrFromAddrPort(group))
	if err != nil {
		return nil, err
	}
	_ = c.SetReadBuffer(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, _, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			count.add(how.open(buf[:n]))
		}
	}()
	return func() { _ = c.Close(); <-done }, nil
}

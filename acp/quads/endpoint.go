package quads

import (
	"context"
	"crypto/aes"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// endpoint is what one instance has of a [Plane]. Nothing of the
// endpoint below is promoted, lest anything pass by in clear.
type endpoint struct {
	key   *domainKey
	under acp.Endpoint

	// Each has its own, so that nobody can have a node's streams refused by forging its
	// datagrams.
	datagrams, streams wary
}

// Under implements [acp.Overlay].
func (e *endpoint) Under() acp.Endpoint { return e.under }

// Port implements [acp.Endpoint].
func (e *endpoint) Port() uint16 { return e.under.Port() }

// Links implements [acp.Endpoint].
func (e *endpoint) Links() []acp.Link { return e.under.Links() }

// Addr implements [acp.Endpoint].
func (e *endpoint) Addr() netip.Addr { return e.under.Addr() }

// Changed implements [acp.Endpoint].
func (e *endpoint) Changed() <-chan struct{} { return e.under.Changed() }

// Close implements [acp.Endpoint].
func (e *endpoint) Close() error { return e.under.Close() }

// MaxMulticast implements [acp.Endpoint]: there has to be room for the padding.
func (e *endpoint) MaxMulticast() int {
	room := e.under.MaxMulticast()
	return room - room%aes.BlockSize - 1
}

// Send implements [acp.Endpoint].
func (e *endpoint) Send(link int, msg []byte) error {
	if err := e.fits(msg); err != nil {
		return fmt.Errorf("acp: QUADS: send on link %d: %w", link, err)
	}
	return e.under.Send(link, e.key.seal(msg))
}

// SendBatch implements [acp.BatchSender].
func (e *endpoint) SendBatch(all []acp.Multicast) {
	sealed := make([]acp.Multicast, 0, len(all))
	for i := range all {
		m := &all[i]
		if m.Err = e.fits(m.Msg); m.Err == nil {
			sealed = append(sealed, acp.Multicast{Link: m.Link, Msg: e.key.seal(m.Msg)})
		} else {
			m.Err = fmt.Errorf("acp: QUADS: send on link %d: %w", m.Link, m.Err)
		}
	}
	acp.SendBatch(e.under, sealed)
	for i := range all {
		if m := &all[i]; m.Err == nil {
			m.Err = sealed[0].Err
			sealed = sealed[1:]
		}
	}
}

// Waiting implements [acp.BatchSender].
func (e *endpoint) Waiting() bool { return acp.Waiting(e.under) }

// SendTo implements [acp.DatagramSender].
func (e *endpoint) SendTo(to netip.AddrPort, msg []byte) error {
	if err := e.fits(msg); err != nil {
		return fmt.Errorf("acp: QUADS: send to %v: %w", to, err)
	}
	return acp.SendTo(e.under, to, e.key.seal(msg))
}

func (e *endpoint) fits(msg []byte) error {
	if limit := e.MaxMulticast(); len(msg) > limit {
		return fmt.Errorf("%d bytes, the limit is %d: %w", len(msg), limit, syscall.EMSGSIZE)
	}
	return nil
}

// datagrams are buffers with room for any datagram.
var datagrams = sync.Pool{New: func() any { return new([1 << 16]byte) }}

// roomFor returns how many bytes of a datagram are read for one who takes n of the message:
// one more than are looked at, to see what is longer. They are not always as many as a
// datagram can have, because [acp.Layer2] reads the more of them at once, the shorter they
// are: up to 4 KiB, as many as it can.
func roomFor(n int) int { return min(max(paddedSize(n)+1, 4<<10), 1<<16) }

// Receive implements [acp.Endpoint].
func (e *endpoint) Receive(buf []byte) (int, acp.Origin, error) {
	sealed := datagrams.Get().(*[1 << 16]byte)
	defer datagrams.Put(sealed)
	room := roomFor(len(buf))
	n, from, err := e.under.Receive(sealed[:room])
	if err != nil {
		return 0, from, err
	}
	by := e.sender(&e.datagrams, from.Addr, from.Link)
	if !by.listens() {
		return 0, from, errMuted
	}
	if n == room && n < len(sealed) {
		return 0, from, foreign(fmt.Errorf("longer than %d bytes: %w", room-1, wire.ErrTooLong))
	}
	msg, err := e.key.open(sealed[:n]) // in place
	by.judge(sealed[:n], err)
	return copy(buf, msg), from, err
}

// Accept implements [acp.Endpoint].
func (e *endpoint) Accept() (*acp.Stream, error) { return e.stream(e.under.Accept()) }

// Dial implements [acp.Endpoint].
func (e *endpoint) Dial(ctx context.Context, to netip.AddrPort) (*acp.Stream, error) {
	if link, _ := strconv.Atoi(to.Addr().Zone()); !e.sender(&e.streams, to, link).listens() {
		return nil, fmt.Errorf("acp: QUADS: dial %v: %w", to, errMuted)
	}
	return e.stream(e.under.Dial(ctx, to))
}

func (e *endpoint) stream(s *acp.Stream, err error) (*acp.Stream, error) {
	if err != nil {
		return s, err
	}
	s.Conn = newConn(s.Conn, e.key, e.sender(&e.streams, s.Peer, s.Link))
	return s, nil
}

func (e *endpoint) sender(w *wary, at netip.AddrPort, link int) *sender {
	return &sender{wary: w, addr: at.Addr(), link: link}
}

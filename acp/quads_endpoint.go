package acp

import (
	"context"
	"crypto/aes"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
)

// quadsEndpoint is what one instance has of a [QUADS] plane. Nothing of the
// endpoint below is promoted, lest anything pass by in clear.
type quadsEndpoint struct {
	key   *quadsKey
	under Endpoint
}

// Port implements [Endpoint].
func (e *quadsEndpoint) Port() uint16 { return e.under.Port() }

// Links implements [Endpoint].
func (e *quadsEndpoint) Links() []Link { return e.under.Links() }

// Addr implements [Endpoint].
func (e *quadsEndpoint) Addr() netip.Addr { return e.under.Addr() }

// Changed implements [Endpoint].
func (e *quadsEndpoint) Changed() <-chan struct{} { return e.under.Changed() }

// Close implements [Endpoint].
func (e *quadsEndpoint) Close() error { return e.under.Close() }

// MaxMulticast implements [Endpoint]: there has to be room for the padding.
func (e *quadsEndpoint) MaxMulticast() int {
	room := e.under.MaxMulticast()
	return room - room%aes.BlockSize - 1
}

// Send implements [Endpoint].
func (e *quadsEndpoint) Send(link int, msg []byte) error {
	if err := e.fits(msg); err != nil {
		return fmt.Errorf("acp: QUADS: send on link %d: %w", link, err)
	}
	return e.under.Send(link, e.key.seal(msg))
}

// SendTo implements [Endpoint].
func (e *quadsEndpoint) SendTo(to netip.AddrPort, msg []byte) error {
	if err := e.fits(msg); err != nil {
		return fmt.Errorf("acp: QUADS: send to %v: %w", to, err)
	}
	return e.under.SendTo(to, e.key.seal(msg))
}

func (e *quadsEndpoint) fits(msg []byte) error {
	if limit := e.MaxMulticast(); len(msg) > limit {
		return fmt.Errorf("%d bytes, the limit is %d: %w", len(msg), limit, syscall.EMSGSIZE)
	}
	return nil
}

// datagrams are buffers with room for any datagram.
var datagrams = sync.Pool{New: func() any { return new([1 << 16]byte) }}

// Receive implements [Endpoint].
func (e *quadsEndpoint) Receive(buf []byte) (int, Origin, error) {
	sealed := datagrams.Get().(*[1 << 16]byte)
	defer datagrams.Put(sealed)
	n, from, err := e.under.Receive(sealed[:])
	if err != nil {
		return 0, from, err
	}
	msg, err := e.key.open(sealed[:n])
	return copy(buf, msg), from, err
}

// Accept implements [Endpoint].
func (e *quadsEndpoint) Accept() (*Stream, error) { return e.stream(e.under.Accept()) }

// Dial implements [Endpoint].
func (e *quadsEndpoint) Dial(ctx context.Context, to netip.AddrPort) (*Stream, error) {
	return e.stream(e.under.Dial(ctx, to))
}

func (e *quadsEndpoint) stream(s *Stream, err error) (*Stream, error) {
	if err != nil {
		return nil, err
	}
	s.Conn = newQUADSConn(s.Conn, e.key)
	return s, nil
}

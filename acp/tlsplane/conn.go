package tlsplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// What a connection is for, by ALPN (RFC 7301), so that one port does for both.
const (
	protoStream    = "grasp"
	protoNeighbour = "grasp-multicast"
)

// conn is a connection to a member, which ends when the peer ceases to be one.
type conn struct {
	*tls.Conn
	raw      *opening
	plane    *Plane
	peer     netip.AddrPort
	identity string
	shown    []*x509.Certificate // by the peer
	usage    x509.ExtKeyUsage    // of the peer
	expelled atomic.Pointer[RefusedError]
}

// maxOpening is how many bytes a peer may send before the handshake is over. Its
// certificates are most of it.
const maxOpening = 32 << 10

// opening is the connection below. It limits how much a peer may send before the
// handshake is over.
type opening struct {
	net.Conn
	got  int // until the handshake is over
	over bool
}

var errTooLong = fmt.Errorf("a handshake of more than %d bytes", maxOpening)

// Read implements [net.Conn].
func (o *opening) Read(b []byte) (int, error) {
	if o.over {
		return o.Conn.Read(b)
	}
	if o.got >= maxOpening {
		return 0, errTooLong
	}
	n, err := o.Conn.Read(b[:min(len(b), maxOpening-o.got)])
	o.got += n
	return n, err
}

// idleMemory is what a connection keeps besides what it got in the handshake: of
// that, the buffers stay and the certificates.
const idleMemory = 6 << 10

// Memory is for [acp.Stream.Memory].
func (c *conn) Memory() int { return idleMemory + 3*c.raw.got }

// Read reads like a tls.Conn. After the peer was expelled, the error is a
// *RefusedError.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.explain(err)
}

// Write is like Read.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.explain(err)
}

// SetDeadline is like Read, and so are the others.
func (c *conn) SetDeadline(t time.Time) error { return c.explain(c.Conn.SetDeadline(t)) }

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error { return c.explain(c.Conn.SetReadDeadline(t)) }

// SetWriteDeadline implements [net.Conn].
func (c *conn) SetWriteDeadline(t time.Time) error { return c.explain(c.Conn.SetWriteDeadline(t)) }

func (c *conn) explain(err error) error {
	if err != nil {
		if refused := c.expelled.Load(); refused != nil {
			return refused
		}
	}
	return err
}

// closeTime is how long a peer that does not read may delay Close.
const closeTime = 250 * time.Millisecond

// Close tells the peer and closes the connection. It never fails.
func (c *conn) Close() error {
	c.plane.members.remove(c)
	defer time.AfterFunc(closeTime, c.abort).Stop()
	_ = c.Conn.Close() // that the peer could not be told does not matter
	return nil
}

// abort closes the connection without a word.
func (c *conn) abort() { _ = c.raw.Close() }

// expel ends the connection of who is no longer a member.
func (c *conn) expel(err *RefusedError) {
	c.plane.members.remove(c)
	if c.expelled.CompareAndSwap(nil, err) {
		c.plane.counters.expel(c.peer, err)
		c.plane.lines.do(func() { c.plane.log().Warn("a connection was ended", "peer", c.RemoteAddr(), "error", err) })
	}
	c.abort()
}

// secure makes a raw stream a connection to a member, for one of the protocols.
// On error it is closed.
func (p *Plane) secure(ctx context.Context, s *acp.Stream, server bool, protos ...string) (*conn, error) {
	c := &conn{raw: &opening{Conn: s.Conn}, plane: p, peer: s.Peer, usage: x509.ExtKeyUsageServerAuth}
	if server {
		c.usage = x509.ExtKeyUsageClientAuth
	}
	cfg, err := p.config(c, s, protos)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.handshakeTimeout())
	defer cancel()
	c.Conn = tls.Client(c.raw, cfg)
	if server {
		c.Conn = tls.Server(c.raw, cfg)
	}
	if err := c.HandshakeContext(ctx); err != nil {
		linger(ctx, s.Conn)
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	c.raw.over = true
	p.counters.handshakes.Add(1)
	p.admit(c)
	return c, nil
}

// config is made for each handshake, so that it has the credentials of now.
func (p *Plane) config(c *conn, s *acp.Stream, protos []string) (*tls.Config, error) {
	if st := p.Status(); !st.Secure {
		return nil, &RefusedError{Reason: ReasonOwn, Err: errors.New(st.Reason)}
	}
	cert, roots, err := p.own()
	if err != nil {
		return nil, &RefusedError{Reason: ReasonOwn, Err: err}
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{*cert},
		NextProtos:             protos,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // each handshake is a full one: nothing can be replayed
		InsecureSkipVerify:     true, // package tls wants a host name: VerifyConnection does it all
		VerifyConnection: func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol == "" {
				return &RefusedError{Reason: ReasonProtocol, Err: errors.New("no ALPN protocol")}
			}
			c.shown = state.PeerCertificates
			who, err := p.verify(c.shown, roots, c.usage)
			if err != nil {
				return err
			}
			if who.name != nil && !who.name.isAt(s.Peer.Addr()) {
				return &RefusedError{Reason: ReasonAddress, Identity: who.identity, Err: fmt.Errorf("it is %s, and at %v", who.name.text, s.Peer.Addr())}
			}
			c.identity = who.identity
			_, err = p.anchors.learn(who.anchor) // which may be another than this node's
			return err
		},
	}, nil
}

// lingerTime is how long a refused peer may take to read why.
const lingerTime = time.Second

// linger closes a connection in a way that the last thing sent arrives: data
// that was not read would have it reset.
func linger(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	half, ok := c.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c, 1<<16)
}

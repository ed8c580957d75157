package conform

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// dialog is a connection to the target.
type dialog struct {
	t   *trial
	sid uint32 // of the negotiation that it is for; 0: none
	stream
}

// locate returns where the target has an objective.
func (t *trial) locate(name string) netip.AddrPort {
	at := t.at[name]
	if len(at) == 0 {
		t.skip("no IP locator of %q to connect to", name)
	}
	for _, a := range at {
		if a.Addr().Is4() == t.cfg.IPv4 {
			return a
		}
	}
	return at[0]
}

// connect connects to where the target has an objective.
func (t *trial) connect(name string) *dialog { return t.connectTo(t.locate(name)) }

func (t *trial) connectTo(to netip.AddrPort) *dialog {
	t.wait()
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Patience)
	defer cancel()
	c, err := t.links[0].dial(ctx, to)
	if err != nil {
		t.refused(to, err)
	}
	t.mu.Lock()
	t.last[to] = t.check.Name
	t.mu.Unlock()
	t.connections.Add(1)
	t.note(true, nil, "connection to %v", to)
	t.closers = append(t.closers, func() { _ = c.Close() })
	return &dialog{t: t, stream: stream{conn: c, cover: t.cover}}
}

// refused ends the run because the target does not accept a connection. That
// is no fault of what this check is about if it did before.
func (t *trial) refused(to netip.AddrPort, err error) {
	t.mu.Lock()
	since, before := t.last[to]
	if gone, ok := t.gone[to]; ok {
		since = gone
	} else if before {
		t.gone[to] = since
	}
	t.mu.Unlock()
	if !before || since == t.check.Name {
		t.fail("no connection to %v: %v", to, err)
	}
	t.lost = true
	t.skip("the target accepts no connection to %v any more, since %s: %v", to, since, err)
}

// write sends a message, which the target may have no wish to get.
func (d *dialog) write(b []byte) { d.note(b); d.bytes(d.cover.seal(b)) }

func (d *dialog) note(b []byte) { d.t.note(true, b, "TCP to %v", d.conn.RemoteAddr()) }

// writePart sends the beginning of a message, as long as a fraction of it, and
// returns the rest of what is sent.
func (d *dialog) writePart(b []byte, part float64) (rest []byte) {
	d.note(b)
	b = d.cover.seal(b)
	n := max(1, int(float64(len(b))*part))
	d.bytes(b[:n])
	return b[n:]
}

// bytes sends bytes.
func (d *dialog) bytes(b []byte) {
	d.t.wait()
	d.t.messages.Add(1)
	_ = d.conn.SetWriteDeadline(time.Now().Add(d.t.cfg.Patience))
	if _, err := d.conn.Write(b); err != nil {
		d.t.note(true, nil, "not sent: %v", err)
	}
}

// send sends a message.
func (d *dialog) send(items ...any) { d.write(encode(list(items))) }

// What may come by a connection.
type event int

const (
	came   event = iota // a message
	closed              // the end of the connection
	silent              // nothing
)

// next waits for what comes next.
func (d *dialog) next(within time.Duration) (message, event) {
	m, err := d.stream.next(time.Now().Add(within))
	switch {
	case err == nil:
		d.t.note(false, m.raw, "TCP from %v", d.conn.RemoteAddr())
		return m, came
	case errors.Is(err, os.ErrDeadlineExceeded):
		return m, silent
	case errors.Is(err, errJunk):
		d.t.fail("%v", err)
	}
	d.t.note(false, nil, "connection closed by %v", d.conn.RemoteAddr())
	return m, closed
}

// reply waits for a message, which must come. M_WAIT gives the target the time
// it asks for.
func (d *dialog) reply() message {
	deadline := time.Now().Add(d.t.cfg.Patience)
	for {
		m, e := d.next(time.Until(deadline))
		switch {
		case e == closed:
			d.t.fail("the connection was closed instead of an answer")
		case e == silent:
			d.t.fail("no answer in time")
		case m.kind == mWait:
			wait, _ := number(m.at(2))
			deadline = time.Now().Add(d.t.cfg.Patience + min(time.Duration(wait)*time.Millisecond, time.Minute))
		default:
			return m
		}
	}
}

// ends expects the connection to be closed at once, with or without a message
// M_INVALID or M_END before.
func (d *dialog) ends(after string) {
	deadline := time.Now().Add(d.t.cfg.Patience)
	for {
		m, e := d.next(time.Until(deadline))
		switch {
		case e == closed:
			return
		case e == silent:
			d.t.fail("%s, the connection was not closed within %v", after, d.t.cfg.Patience)
		case m.kind != mInvalid && m.kind != mEnd:
			d.t.fail("%s came %v", after, m)
		}
	}
}

// reset has the connection end by a reset.
func (d *dialog) reset() {
	if c, ok := d.conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = d.conn.Close()
}

// Close closes the connection.
func (d *dialog) Close() error { return d.conn.Close() }

package quads

import (
	"crypto/cipher"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/go-grasp/grasp/internal/wire"
)

// conn is a connection on which every message is encrypted by itself.
// Read gives messages of which all has come and was found right. It must not
// be called concurrently.
type conn struct {
	net.Conn
	key   *domainKey
	limit int // of a message, in bytes
	from  *sender

	raw   []byte           // what came, from the message under way on
	begin int              // where in raw that one begins
	mode  cipher.BlockMode // decrypts it
	plain []byte           // what is decrypted: of it, and maybe of what follows
	need  int              // bytes that it has at least
	out   []byte           // of the last message, what is yet to be given out
	err   error            // why what came makes no sense; Read returns it from then on
}

// sender is where a message comes from, and what is known of that.
type sender struct {
	wary *wary
	addr netip.Addr
	link int
}

// listens reports whether what the sender sends is looked at.
func (s *sender) listens() bool { return s.wary.listens(s.addr, s.link, time.Now()) }

// judge notes whether a message made sense. plain is the message, or as much of it as
// was decrypted.
func (s *sender) judge(plain []byte, err error) {
	switch {
	case err == nil:
		s.wary.right(s.addr, s.link, time.Now())
	case errors.Is(err, wire.ErrTooLong): // by a member with other limits
	case beginsRightly(plain):
		s.wary.altered(s.addr, s.link, time.Now())
	}
}

func newConn(c net.Conn, key *domainKey, from *sender) *conn {
	q := &conn{Conn: c, key: key, limit: wire.DefaultBytes, from: from}
	if !from.listens() {
		q.err = errMuted
	}
	q.reset()
	return q
}

// Memory is for [acp.Stream.Memory]: besides the message there are the state of the
// cipher and the encrypted message.
func (c *conn) Memory() int { return 2 << 10 }

// SetMaxMessage is for [acp.Stream.SetMaxMessage].
func (c *conn) SetMaxMessage(bytes int) { c.limit = bytes }

// Write encrypts a message and sends it with one write.
func (c *conn) Write(msg []byte) (int, error) {
	n, err := c.Conn.Write(c.key.seal(msg))
	return min(n, len(msg)), err
}

// Read gives a message or a part of one.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) > 0 && len(c.out) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.out)
	c.out = c.out[n:]
	return n, nil
}

// next waits until all of the message under way has come. After an error of the
// connection, such as a deadline, the next call goes on where this one stopped.
func (c *conn) next() error {
	for c.err == nil {
		if err := c.decrypt(); err != nil {
			return err
		}
		n, err := wire.Scan(c.plain, limits(c.limit))
		size := paddedSize(n)
		switch {
		case errors.Is(err, wire.ErrTruncated), err == nil && size > len(c.plain):
			c.need = n
			continue
		case err != nil:
			c.err = foreign(err)
		case !isPadding(c.plain[n:size]):
			c.err = foreign(errNoPadding)
		}
		c.from.judge(c.plain, c.err)
		if c.err == nil {
			c.out = c.plain[:n]
			c.begin += size
			c.reset()
			return nil
		}
	}
	c.swallow()
	return c.err
}

// swallowTime is how long Read takes to return that a message makes no sense, unless
// the peer or the reader ends the connection before.
const swallowTime = 10 * time.Second

// swallow reads on for as long as the rest of a message would be waited for, so that
// the sender does not learn whether, or why, the message made no sense.
func (c *conn) swallow() {
	defer time.AfterFunc(swallowTime, func() { _ = c.Conn.SetReadDeadline(time.Unix(1, 0)) }).Stop()
	_, _ = io.Copy(io.Discard, c.Conn)
}

// reset makes ready for the next message.
func (c *conn) reset() {
	c.mode, c.plain, c.need = c.key.decrypter(), c.plain[:0], 1
}

// decrypt waits for as much of the message under way as it is known to have, and
// decrypts that. If more has come, it goes on, to twice as far as before at most: what is
// beyond the end of the message is decrypted in vain, because each message is encrypted
// by itself. So there are few scans, and little is decrypted in vain.
func (c *conn) decrypt() error {
	sure := paddedSize(c.need)
	for len(c.raw)-c.begin < sure {
		if err := c.fill(sure); err != nil {
			return err
		}
	}
	from := len(c.plain)
	there := len(c.raw) - c.begin
	to := min(max(sure, 2*from), there-there%c.mode.BlockSize())
	if to > cap(c.plain) {
		c.plain = append(make([]byte, 0, max(to, 2*from)), c.plain...)
	}
	c.plain = c.plain[:to]
	c.mode.CryptBlocks(c.plain[from:], c.raw[c.begin+from:c.begin+to])
	return nil
}

// fill reads once, into a buffer that has room for what is sure to come.
func (c *conn) fill(sure int) error {
	rest := c.raw[c.begin:]
	if sure > cap(c.raw) {
		c.raw = make([]byte, 0, max(sure, 2*cap(c.raw), 512))
	}
	c.raw, c.begin = append(c.raw[:0], rest...), 0
	n, err := c.Conn.Read(c.raw[len(c.raw):cap(c.raw)])
	c.raw = c.raw[:len(c.raw)+n]
	switch {
	case n > 0:
		return nil
	case err == io.EOF && len(c.raw) > 0:
		c.err = foreign(io.ErrUnexpectedEOF)
		return c.err
	}
	return err
}

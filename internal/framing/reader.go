package framing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/nowait"
	"github.com/go-grasp/grasp/internal/wire"
)

// UsualSize is enough room for most messages.
const UsualSize = 256

// ErrInterrupted is wrapped, beside the cause, by the error that Next returns when
// its context ends.
var ErrInterrupted = errors.New("interrupted")

// Reader reads items from a connection. It must not be copied, and its methods, but for
// Age, must not be called concurrently.
type Reader struct {
	Conn   net.Conn
	Limits wire.Limits // of what is read from now on
	Size   int         // of the buffer at first; 0 means UsualSize

	buf    buffer
	failed error // of the last read, nil if it did not fail

	interrupts sync.WaitGroup // calls of interrupt that are under way

	mu       sync.Mutex // guards all following fields
	deadline time.Time  // of the call of Next that waits; zero: none does
}

// Next returns the next item, in a slice that is valid until the next call. It
// waits until the deadline, or the end of the context. The error is io.EOF if the
// stream ends between items, and io.ErrUnexpectedEOF if it ends within an item. With
// an error of wire.Scan, Next also returns the bytes that came.
func (r *Reader) Next(ctx context.Context, deadline time.Time) ([]byte, error) {
	item, err := r.buf.next(r.Limits)
	if !errors.Is(err, wire.ErrTruncated) {
		return item, err
	}
	if err := r.await(deadline); err != nil {
		return nil, err
	}
	defer r.rest()
	if ctx.Done() != nil {
		r.interrupts.Add(1)
		stop := context.AfterFunc(ctx, r.interrupt)
		defer func() {
			if stop() {
				r.interrupts.Done()
			} else {
				r.interrupts.Wait() // or it would end the next call
			}
		}()
	}
	for errors.Is(err, wire.ErrTruncated) {
		if err := r.fill(); err != nil {
			switch {
			case ctx.Err() != nil:
				return nil, fmt.Errorf("%w: %w", ErrInterrupted, context.Cause(ctx))
			case errors.Is(err, io.EOF) && r.buf.len() > 0:
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if r.buf.len() >= r.buf.need() {
			item, err = r.buf.next(r.Limits)
		}
	}
	return item, err
}

// await begins to wait until a deadline.
func (r *Reader) await(deadline time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = deadline
	return r.Conn.SetReadDeadline(deadline)
}

// rest notes that nothing is waited for.
func (r *Reader) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = time.Time{}
}

// interrupt ends a call of Next.
func (r *Reader) interrupt() {
	defer r.interrupts.Done()
	_ = r.await(time.Unix(1, 0))
}

// Age has a call of Next that waits end earlier, because the machine slept for a time
// that the clock did not measure. It may be called at any time.
func (r *Reader) Age(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.deadline.IsZero() {
		r.deadline = r.deadline.Add(-by)
		_ = r.Conn.SetReadDeadline(r.deadline)
	}
}

// Arrived returns the next item if it has come already, without waiting. An error is
// one of the connection or of wire.Scan; Next will return it, too.
func (r *Reader) Arrived() ([]byte, error) {
	size := r.size()
	n, err := nowait.Read(r.Conn, r.buf.extend(size, size))
	r.buf.shorten(size - n)
	r.failed = err
	item, err := r.buf.next(r.Limits)
	if err != nil {
		r.buf.unread()
		return nil, err
	}
	return item, nil
}

// Last returns what Next or Arrived returned last.
func (r *Reader) Last() []byte { return r.buf.last() }

// Unread has Next return the last item once more.
func (r *Reader) Unread() { r.buf.unread() }

func (r *Reader) size() int {
	if r.Size > 0 {
		return r.Size
	}
	return UsualSize
}

// fill reads once, into a buffer that grows with what comes.
func (r *Reader) fill() error {
	if r.failed != nil {
		return r.failed
	}
	if r.buf.free() == 0 {
		grown := r.size()
		if held := r.buf.len(); held > 0 {
			grown = min(4*held-r.size(), r.limit()) + r.size() // the limit may be any int
		}
		r.buf.extend(1, grown)
		r.buf.shorten(1)
	}
	free := r.buf.free()
	n, err := r.Conn.Read(r.buf.extend(free, 0))
	r.buf.shorten(free - n)
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	}
	return err
}

func (r *Reader) limit() int {
	if r.Limits.Bytes > 0 {
		return r.Limits.Bytes
	}
	return wire.DefaultBytes
}

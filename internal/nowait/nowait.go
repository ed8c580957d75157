// Package nowait reads the bytes that have arrived on a connection, without waiting.
package nowait

import "net"

// Reader is a connection that has a method for this.
type Reader interface {
	// ReadNow is like [Read] but returns no error, because later reads return it.
	ReadNow(b []byte) int
}

// Read reads the bytes that have arrived, without waiting. It returns 0 if there are
// none, at the end of the stream, which the next ordinary read reports, and where it
// cannot know: on a connection that is neither a Reader nor TCP, such as one that
// encrypts, and on systems other than Unix. Later reads do not return the error that
// Read returned.
func Read(c net.Conn, b []byte) (int, error) {
	switch c := c.(type) {
	case *net.TCPConn:
		return read(c, b)
	case Reader:
		return c.ReadNow(b), nil
	}
	return 0, nil
}

// Package nowait reads what a connection has already.
package nowait

import "net"

// Reader is a connection that can do it by itself.
type Reader interface {
	// ReadNow is like [Read], for a connection whose errors are there to stay.
	ReadNow(b []byte) int
}

// Read reads what has come by a connection, without waiting. It returns 0 if
// that is nothing, at the end of the stream, which the next read will tell of,
// and where it cannot be known: on a connection that is neither a Reader nor of
// TCP, such as one that encrypts, or without Unix. An error is one that no
// other read will tell of.
func Read(c net.Conn, b []byte) (int, error) {
	switch c := c.(type) {
	case *net.TCPConn:
		return read(c, b)
	case Reader:
		return c.ReadNow(b), nil
	}
	return 0, nil
}

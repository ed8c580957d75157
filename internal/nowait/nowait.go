// Package nowait reads what a connection has already.
package nowait

import "net"

// Read reads what has come by a TCP connection, without waiting. It returns 0
// if that is nothing, at the end of the stream or after an error, which the
// next read tells of, and wherever it cannot be known: on a connection of
// another kind, such as one that encrypts, or a system of another kind.
func Read(c net.Conn, b []byte) int {
	if c, ok := c.(*net.TCPConn); ok {
		return read(c, b)
	}
	return 0
}

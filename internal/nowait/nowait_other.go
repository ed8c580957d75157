//go:build !unix

package nowait

import "net"

func read(*net.TCPConn, []byte) (int, error) { return 0, nil }

//go:build !unix

package nowait

import "net"

func read(*net.TCPConn, []byte) int { return 0 }

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package acp

// limitGroups: these systems deliver to the sockets that joined only.
func limitGroups(int, string) {}

// reusePort reports whether SO_REUSEPORT is set on the shared socket.
func reusePort(string) bool { return true }

package capturetest

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/netbed"
)

// Live captures what passes an interface of a node (nil: the test's own
// namespace) until the file is closed, or the test ends.
func Live(t testing.TB, node *netbed.Node, name string) *File {
	t.Helper()
	f := NewFile(t, Ethernet)
	all := uint16(unix.ETH_P_ALL)<<8 | unix.ETH_P_ALL>>8 // in network order
	var socket *os.File
	var err error
	node.Do(t, func() {
		var i *net.Interface
		if i, err = net.InterfaceByName(name); err != nil {
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return
		}
		socket = os.NewFile(uintptr(fd), "packets of "+name)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<20) // as much as the system allows
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	})
	if err != nil {
		t.Fatalf("capture on %s: %v", name, err)
	}
	ended := make(chan struct{})
	go func() { // ends when the socket is closed
		defer close(ended)
		buf := make([]byte, 1<<17)
		for {
			n, err := socket.Read(buf)
			switch {
			case err == nil:
				f.Packet(time.Now(), buf[:n])
			case errors.Is(err, unix.ENETDOWN): // it may come up again
			default:
				return
			}
		}
	}()
	t.Cleanup(func() {
		if raw, err := socket.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil && s.Drops > 0 {
					t.Logf("capture on %s: %d of %d packets were lost", name, s.Drops, s.Packets)
				}
			})
		}
		_ = socket.Close()
		<-ended
	})
	return f
}

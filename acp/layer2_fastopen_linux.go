package acp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/race"
)

// fastOpenWorks says that the system has TCP Fast Open.
const fastOpenWorks = true

// fastOpen is what an endpoint knows of TCP Fast Open.
type fastOpen struct {
	mu     sync.Mutex // guards all following fields
	doubts *race.Doubts[netip.Addr]
}

// A peer is doubted if an opening with data did not get through to it, or only when the
// system repeated it without data: something on the path may drop those. Meanwhile
// connections to it are opened as usual. Peers that merely refuse a cookie need not be
// remembered, because the system asks them for a new one.
const (
	mostDoubted  = 1024
	doubtedFor   = 10 * time.Minute
	suspectAfter = 500 * time.Millisecond // Linux repeats an opening after a second: nothing was before that
)

func newFastOpen() *fastOpen {
	return &fastOpen{doubts: race.NewDoubts[netip.Addr](mostDoubted, doubtedFor)}
}

func (f *fastOpen) inDoubt(to netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doubts.Has(to, time.Now())
}

func (f *fastOpen) doubt(to netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.doubts.Add(to, time.Now())
}

// fastOpenRefused says which part of TCP Fast Open the operator has off.
func fastOpenRefused() []error {
	const asked, given = 1, 2 // by this node, and to others
	raw, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fastopen")
	if err != nil {
		return nil // it cannot be known
	}
	bits, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || bits&(asked|given) == asked|given {
		return nil
	}
	return []error{fmt.Errorf("FastOpen: the sysctl net.ipv4.tcp_fastopen is %d, and has to be 3", bits)}
}

// mostEarly is how many openings with data may wait for the rest of their handshake,
// at one port. Further ones are taken without the data, which costs their peers a
// round trip.
const mostEarly = 256

// allowFastOpen lets peers send with the opening.
func allowFastOpen(listening int) {
	_ = unix.SetsockoptInt(listening, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, mostEarly)
}

// isEarly reports whether the first bytes of an accepted connection came with the
// opening. If the system does not tell, they may have.
func isEarly(fd int) bool {
	const synData = 32 // TCPI_OPT_SYN_DATA
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err != nil || info.Options&synData != 0
}

// fastEndpoint is an endpoint with TCP Fast Open.
type fastEndpoint struct{ *layer2Endpoint }

// DialWith implements [Requester].
func (e *fastEndpoint) DialWith(ctx context.Context, to netip.AddrPort, msg []byte) (*Stream, error) {
	early := !e.fast.inDoubt(to.Addr())
	began := time.Now()
	sent := 0 // of the message
	s, err := e.dialBy(ctx, to, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		var c net.Conn
		var err error
		if early {
			c, sent, err = connectWith(ctx, to, msg)
		} else {
			c, err = e.sys.connect(ctx, to)
		}
		switch {
		case err != nil:
			return nil, err
		case sent == len(msg):
			return c, nil
		}
		if deadline, ok := ctx.Deadline(); ok {
			_ = c.SetWriteDeadline(deadline)
		}
		if _, err := c.Write(msg[sent:]); err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, nil
	})
	if early && time.Since(began) > suspectAfter && (err != nil || wasRepeated(s.Conn)) {
		e.fast.doubt(to.Addr())
	}
	if err != nil && (sent < len(msg) || errors.Is(err, syscall.ECONNREFUSED)) {
		err = fmt.Errorf("%w: %w", err, ErrUndelivered)
	}
	return s, err
}

// wasRepeated reports whether the system sent anything of a connection again. If it does
// not tell, it may have.
func wasRepeated(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	again := true
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		again = err != nil || info.Total_retrans > 0
	})
	return again
}

// connectWith is connect with as much of a message as goes with the opening, which it
// returns also if it fails. The system sends none of it to a peer whose cookie it does
// not have: it asks for one.
func connectWith(ctx context.Context, to netip.AddrPort, msg []byte) (c *fileConn, sent int, err error) {
	fd, sa, err := streamSocket(to)
	if err != nil {
		return nil, 0, err
	}
	sent, err = unix.SendmsgN(fd, msg, nil, unixSockaddr(sa), unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL)
	switch {
	case err == nil:
		err = syscall.EINPROGRESS // or further: the next call says
	case errors.Is(err, syscall.EOPNOTSUPP): // the operator has it off
		sent, err = 0, syscall.Connect(fd, sa)
	default:
		sent = 0
	}
	c = newFileConn(fd, to)
	if isConnecting(err) {
		err = syscall.Connect(fd, sa) // says how far it is: see connect
	}
	if err == syscall.EISCONN {
		err = nil
	}
	if err := c.connected(ctx, sa, err); err != nil {
		return nil, sent, err
	}
	return c, sent, nil
}

func unixSockaddr(sa syscall.Sockaddr) unix.Sockaddr {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return &unix.SockaddrInet4{Port: sa.Port, Addr: sa.Addr}
	case *syscall.SockaddrInet6:
		return &unix.SockaddrInet6{Port: sa.Port, Addr: sa.Addr, ZoneId: sa.ZoneId}
	}
	return nil
}

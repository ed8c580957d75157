//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package acp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// oobSize is enough for the packet information of one datagram.
const oobSize = 64

// controlShared prepares the socket on port 7017 before it is bound. Sockets
// share the port if both have either option: other implementations set one of
// them, or both. An option that the system refuses costs that: the port may be
// taken then.
func controlShared(network, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { share(int(fd), network) })
}

func share(fd int, network string) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if reusePort(network) {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	limitGroups(fd, network)
}

// packetInfo returns the destination of a datagram and the interface it came
// by.
func packetInfo(oob []byte) (dst netip.Addr, ifindex int, ok bool) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return netip.Addr{}, 0, false
		}
		if h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo {
			return netip.AddrFrom16([16]byte(data)), int(binary.NativeEndian.Uint32(data[16:])), true
		}
		if dst, ifindex, ok := packetInfo4(h.Level, h.Type, data); ok {
			return dst, ifindex, true
		}
		oob = rest
	}
	return netip.Addr{}, 0, false
}

// sendOp is one sendmsg. It is not done by package net because that looks up
// the zone of the destination by a netlink dump, and waits when the socket's
// buffer is full: one link that is stuck would hold up the others.
type sendOp struct {
	to       unix.Sockaddr
	msg, oob []byte
	err      error
	run      func(fd uintptr)
}

// There is a pool for each family, since addresses hold buffers.
var (
	sendPool6 = sync.Pool{New: func() any {
		return newSendOp(&unix.SockaddrInet6{Port: Port, Addr: Group6().As16()})
	}}
	sendPool4 = sync.Pool{New: func() any {
		return newSendOp(&unix.SockaddrInet4{Port: Port, Addr: Group4().As4()})
	}}
)

func newSendOp(to unix.Sockaddr) *sendOp {
	op := &sendOp{to: to}
	op.run = op.send
	return op
}

func (op *sendOp) send(fd uintptr) {
	for {
		_, op.err = unix.SendmsgN(int(fd), op.msg, op.oob, op.to, unix.MSG_DONTWAIT)
		if op.err != unix.EINTR {
			return
		}
	}
}

// unpolled returns the socket of c, which it closes, without the poller of package net. The
// poller would be woken for each datagram that has left, since there is room for another
// one then, and nobody here waits for that. If the system refuses, it returns c.
func unpolled(c *net.UDPConn) outSocket {
	raw, err := c.SyscallConn()
	if err != nil {
		return c
	}
	again := -1
	if err := raw.Control(func(fd uintptr) { again, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || again < 0 {
		return c
	}
	if unix.SetNonblock(again, false) != nil { // what does not block, os.File has polled
		_ = unix.Close(again)
		return c
	}
	_ = c.Close()
	return os.NewFile(uintptr(again), "udp")
}

// sendOn multicasts on one link, without waiting.
func sendOn(l *linkState, msg []byte) error {
	pool := &sendPool6
	if l.family.group.Is4() {
		pool = &sendPool4
	}
	op := pool.Get().(*sendOp)
	defer pool.Put(op)
	op.msg, op.oob = msg, l.oob
	err := l.family.rawOut.Control(op.run)
	op.msg, op.oob = nil, nil
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", op.err)
}

// sendUnicast sends to one node on a link, without waiting. Over IPv6 the link
// and the address there are picked as for a multicast.
func sendUnicast(l *linkState, to netip.AddrPort, msg []byte) error {
	var op *sendOp
	if to.Addr().Is4() {
		op = newSendOp(&unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	} else {
		op = newSendOp(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: uint32(l.Index)})
		op.oob = l.oob
	}
	op.msg = msg
	if err := l.family.rawOut.Control(op.run); err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", op.err)
}

func isInUse(err error) bool { return errors.Is(err, unix.EADDRINUSE) }

// isTruncated: a datagram longer than the buffer is no error on these systems.
func isTruncated(error) bool { return false }

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// The floor without a compiler: the same system calls, which block, made from here.

// serveCalls answers on a port until it is stopped.
func serveCalls() (port uint16, stop func(), err error) {
	l, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	err = errors.Join(syscall.Bind(l, &syscall.SockaddrInet6{}), syscall.Listen(l, 4096))
	sa, nameErr := syscall.Getsockname(l)
	if err = errors.Join(err, nameErr); err != nil {
		_ = syscall.Close(l)
		return 0, nil, err
	}
	var all sync.WaitGroup
	for range listeners {
		all.Go(func() {
			buf := make([]byte, 512)
			for {
				s, _, err := syscall.Accept4(l, syscall.SOCK_CLOEXEC)
				if err == syscall.EINVAL || err == syscall.EBADF {
					return // it was stopped
				}
				if err != nil {
					continue
				}
				if n, _ := syscall.Read(s, buf); n > 0 {
					_, _ = syscall.Write(s, buf[:buf[0]])
				}
				_ = syscall.Close(s)
			}
		})
	}
	stop = func() {
		_ = syscall.Shutdown(l, syscall.SHUT_RDWR)
		all.Wait()
		_ = syscall.Close(l)
	}
	return uint16(sa.(*syscall.SockaddrInet6).Port), stop, nil
}

// calls is the floor of one peer.
type calls struct {
	to            syscall.SockaddrInet6
	asked, answer int
}

func newCalls(to netip.AddrPort, asked, answer int) (floor, error) {
	link, _ := strconv.Atoi(to.Addr().Zone())
	sa := syscall.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: uint32(link)}
	return &calls{sa, asked, answer}, nil
}

func (c *calls) by() string   { return "system calls" }
func (c *calls) close() error { return nil }

func (c *calls) measure(ctx context.Context, n, times int) (time.Duration, error) {
	return timed(c.exchange)(ctx, n, times)
}

func (c *calls) exchange(context.Context) error {
	s, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	_ = syscall.SetsockoptInt(s, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
	_ = syscall.SetsockoptInt(s, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	to := c.to // the call writes to it
	if err := syscall.Connect(s, &to); err != nil {
		return err
	}
	buf := make([]byte, 512)
	buf[0] = byte(c.answer)
	if _, err := syscall.Write(s, buf[:c.asked]); err != nil {
		return err
	}
	n, err := syscall.Read(s, buf)
	if err == nil && n != c.answer {
		err = fmt.Errorf("an answer of %d bytes instead of %d", n, c.answer)
	}
	if err == nil {
		_, err = syscall.Read(s, buf) // the end
	}
	return err
}

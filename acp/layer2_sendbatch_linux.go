package acp

import (
	"encoding/binary"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outgoing is what sendmmsg needs for a batch.
type outgoing struct {
	n, sent int
	errno   syscall.Errno
	headers [maxBatch]mmsghdr
	parts   [maxBatch]unix.Iovec
	to      unix.RawSockaddrInet6 // also has room for one of IPv4
	run     func(fd uintptr)
}

var outgoingPool = sync.Pool{New: func() any {
	o := new(outgoing)
	o.run = o.send
	return o
}}

// sendFirst sends the first ones of several messages by one system call, as far as they
// go by the same version of IP. It returns how many, 0 if the first one failed.
func (e *layer2Endpoint) sendFirst(all []Multicast) int {
	o := outgoingPool.Get().(*outgoing)
	defer outgoingPool.Put(o)
	f := o.take(e.state.Load(), all)
	if o.n == 0 {
		return 0
	}
	defer clear(o.parts[:o.n])
	if f.rawOut.Control(o.run) != nil || o.errno != 0 {
		return 0
	}
	return o.sent
}

// take takes the first messages that may go together, and returns by which version of IP.
func (o *outgoing) take(st *layer2State, all []Multicast) (f *family) {
	o.n = 0
	for _, m := range all[:min(len(all), maxBatch)] {
		l := st.byIndex[m.Link]
		if l == nil || f != nil && l.family != f || len(m.Msg) == 0 || len(m.Msg) > MaxMulticast {
			break
		}
		if f == nil {
			f = l.family
			o.address(f)
		}
		part, h := &o.parts[o.n], &o.headers[o.n].Msghdr
		part.Base = &m.Msg[0]
		part.SetLen(len(m.Msg))
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.to)), o.length()
		h.Iov = part
		h.SetIovlen(1)
		h.Control = &l.oob[0]
		h.SetControllen(len(l.oob))
		o.n++
	}
	return f
}

// address notes where the multicasts of a version of IP go.
func (o *outgoing) address(f *family) {
	port := (*[2]byte)(unsafe.Pointer(&o.to.Port))
	if f.group.Is4() {
		to := (*unix.RawSockaddrInet4)(unsafe.Pointer(&o.to))
		to.Family, to.Addr = unix.AF_INET, f.group.As4()
	} else {
		o.to.Family, o.to.Addr = unix.AF_INET6, f.group.As16()
	}
	binary.BigEndian.PutUint16(port[:], Port)
}

func (o *outgoing) length() uint32 {
	if o.to.Family == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// send is the system call. As in fill, the scheduler is not told of it. It would take this
// call for one that blocks, since a batch takes it more than the 20 µs that it grants, and
// set another thread to work.
func (o *outgoing) send(fd uintptr) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.headers)), uintptr(o.n), unix.MSG_DONTWAIT, 0, 0)
		if o.sent, o.errno = int(n), errno; errno != unix.EINTR {
			return
		}
	}
}

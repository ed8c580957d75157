package acp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchCalls is what recvmmsg needs for a batch.
type batchCalls struct {
	headers [maxBatch]mmsghdr
	parts   [maxBatch]unix.Iovec
	sources [maxBatch]unix.RawSockaddrInet6 // also has room for one of IPv4
}

// mmsghdr is that of the system: package unix does not have it for all processors.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// batchReader is the part of a receiver that reads batches, one at a time.
type batchReader struct {
	raw    syscall.RawConn // nil: not yet asked for
	buffer int             // what Receive was called with
	batch  *batch          // what was read
	err    error           // why not
	rush   rush
	single bool // the system has no recvmmsg
	try    func(fd uintptr) bool
}

// read waits until there are datagrams, and reads them by one system call.
func (r *receiver) read(buffer int) (*batch, error) {
	if r.single {
		return r.readOne(buffer)
	}
	if r.raw == nil {
		var err error
		if r.raw, err = r.conn.SyscallConn(); err != nil {
			return nil, err
		}
		r.try = r.tryBatch
	}
	r.buffer = buffer
	if err := r.raw.Read(r.try); err != nil {
		return nil, err
	}
	if r.err == unix.ENOSYS || r.err == unix.EPERM {
		r.single = true
		return r.readOne(buffer)
	}
	return r.batch, os.NewSyscallError("recvmmsg", r.err)
}

// tryBatch reads what there is. It returns false if there is nothing.
func (r *receiver) tryBatch(fd uintptr) bool {
	r.batch, r.err = nil, nil
	b := batchPool.Get().(*batch)
	errno := b.fill(fd, r.buffer)
	if errno == unix.EAGAIN && r.rush.ends() {
		yield()
		errno = b.fill(fd, r.buffer)
	}
	if errno == 0 {
		r.batch = b
		r.rush.came(b.n, time.Now())
		return true
	}
	batchPool.Put(b)
	if errno != unix.EAGAIN {
		r.err = errno
	}
	return errno != unix.EAGAIN
}

// fill reads datagrams without waiting. It does not tell the scheduler of the system call,
// which takes microseconds: if the scheduler was idle, that would wake the scheduler's
// monitor, which takes longer.
func (b *batch) fill(fd uintptr, buffer int) syscall.Errno {
	size, number := sizeFor(buffer)
	c := &b.calls
	for i := range number {
		c.parts[i].Base = &b.buf[i*size]
		c.parts[i].SetLen(size)
		h := &c.headers[i].Msghdr
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&c.sources[i])), unix.SizeofSockaddrInet6
		h.Iov = &c.parts[i]
		h.SetIovlen(1)
		h.Control = &b.oobs[i][0]
		h.SetControllen(oobSize)
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&c.headers)), uintptr(number), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.take(int(n), size)
			return 0
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// take notes what came in n slots of a size.
func (b *batch) take(n, size int) {
	b.n, b.next = n, 0
	for i := range n {
		h := &b.calls.headers[i]
		b.datagrams[i] = datagram{
			msg: b.buf[i*size:][:h.n],
			oob: b.oobs[i][:h.Controllen],
		}
		b.datagrams[i].from(&b.calls.sources[i])
	}
}

// from notes the source of a datagram.
func (d *datagram) from(sa *unix.RawSockaddrInet6) {
	addr := netip.AddrFrom16(sa.Addr)
	d.scope = sa.Scope_id
	if sa.Family == unix.AF_INET {
		addr = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
		d.scope = 0
	}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port)) // in the network's order
	d.src = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(port[:]))
}

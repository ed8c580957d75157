package acp

import (
	"encoding/binary"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outgoing is what sendmmsg needs for messages.
//
// Those for one link that are equally long make one packet. The system passes it on as one, and cuts it into its segments at the end, on the
// interface or where a socket gets them: whoever listens gets each message as a datagram.
// That spares most of what sending takes, since relayed messages are often alike.
type outgoing struct {
	packets  int
	headers  [maxBatch]mmsghdr
	controls [maxBatch]control
	links    [maxBatch]*linkState // of the packets
	ends     [maxBatch]int        // of the packets, in parts

	taken int
	parts [maxBatch]unix.Iovec // messages, in the order in which they are sent
	of    [maxBatch]int        // for each of parts, which message it is

	went  [maxBatch]bool        // for each message: it was sent, or is in parts
	to    unix.RawSockaddrInet6 // also has room for one of IPv4
	at    int                   // the packet that is sent next
	errno syscall.Errno         // why it was not
	run   func(fd uintptr)
}

// control is a control message for a packet of several segments, aligned for the system.
type control [64 / 8]uint64

var outgoingPool = sync.Pool{New: func() any {
	o := new(outgoing)
	o.run = o.send
	return o
}}

// sendTogether sends up to maxBatch messages by one system call for each version of IP. From
// the first one that cannot be sent so, all others are sent one by one.
func (e *layer2Endpoint) sendTogether(all []Multicast) {
	o := outgoingPool.Get().(*outgoing)
	defer outgoingPool.Put(o)
	o.went, o.errno = [maxBatch]bool{}, 0
	for st := e.state.Load(); o.errno == 0; {
		f := o.take(st, all)
		if f == nil {
			break
		}
		if f.rawOut.Control(o.run) != nil {
			o.errno = unix.EBADF // it was closed, which Send tells
		}
		if o.errno != 0 {
			for _, i := range o.of[o.first(o.at):o.taken] {
				o.went[i] = false
			}
		}
	}
	clear(o.parts[:])
	for i := range all {
		m := &all[i]
		if m.Err = nil; !o.went[i] {
			m.Err = e.Send(m.Link, m.Msg)
		}
	}
	o.blame(all)
	clear(o.links[:])
}

// blame has no further packets of several segments be sent on a link where the system refused
// one, and sent its messages one by one.
func (o *outgoing) blame(all []Multicast) {
	switch o.errno {
	case 0, unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM: // it may go next time
		return
	}
	if first := o.first(o.at); o.ends[o.at]-first > 1 && all[o.of[first]].Err == nil {
		o.links[o.at].whole.Store(true)
	}
}

// first returns where the parts of a packet begin.
func (o *outgoing) first(packet int) int {
	if packet == 0 {
		return 0
	}
	return o.ends[packet-1]
}

// take takes messages that go by one version of IP, which it returns, nil if there is none
// that can be sent.
func (o *outgoing) take(st *layer2State, all []Multicast) (f *family) {
	o.packets, o.taken, o.at = 0, 0, 0
	for i := range all {
		l := st.byIndex[all[i].Link]
		if o.went[i] || l == nil || f != nil && l.family != f || !fits(all[i].Msg) {
			continue
		}
		if f == nil {
			f = l.family
			o.address(f)
		}
		o.add(i, all[i].Msg)
		if f.segments && !l.whole.Load() {
			o.addAlike(i, all)
		}
		o.close(l, len(all[i].Msg))
	}
	return f
}

// fits reports whether a message can be sent.
func fits(msg []byte) bool { return len(msg) > 0 && len(msg) <= MaxMulticast }

// add adds a message to the next packet.
func (o *outgoing) add(i int, msg []byte) {
	o.parts[o.taken].Base = &msg[0]
	o.parts[o.taken].SetLen(len(msg))
	o.of[o.taken] = i
	o.went[i] = true
	o.taken++
}

// addAlike adds to the packet of a message those after it on the same link that are as long,
// up to the first that is not.
func (o *outgoing) addAlike(i int, all []Multicast) {
	for k := i + 1; k < len(all); k++ {
		switch m := &all[k]; {
		case m.Link != all[i].Link:
		case o.went[k] || len(m.Msg) != len(all[i].Msg):
			return
		default:
			o.add(k, m.Msg)
		}
	}
}

// close makes a packet for a link of the messages that were added since the last one.
func (o *outgoing) close(l *linkState, length int) {
	first := o.first(o.packets)
	h := &o.headers[o.packets].Msghdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.to)), o.length()
	h.Iov = &o.parts[first]
	h.SetIovlen(o.taken - first)
	oob := l.oob
	if o.taken-first > 1 {
		oob = o.controls[o.packets].set(oob, length)
	}
	h.Control = &oob[0]
	h.SetControllen(len(oob))
	o.links[o.packets], o.ends[o.packets] = l, o.taken
	o.packets++
}

// set returns a control message with how long the segments are.
func (c *control) set(oob []byte, length int) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(c)), unsafe.Sizeof(*c))
	n := copy(b, oob)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[n]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[n+unix.CmsgLen(0):], uint16(length))
	return b[:n+unix.CmsgSpace(2)]
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

// send is the system call, made until all packets are sent or one is refused. As in fill,
// the scheduler is not told of it. It would take this call for one that blocks, since a batch
// takes it more than the 20 µs that it grants, and set another thread to work.
func (o *outgoing) send(fd uintptr) {
	for o.at < o.packets {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.headers[o.at])), uintptr(o.packets-o.at), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			o.at += int(n)
		case unix.EINTR:
		default:
			o.errno = errno
			return
		}
	}
}

// askSegments notes whether the system cuts packets into segments, wherever they end. Linux
// has UDP_SEGMENT since 4.18; since 5.0, which also brought UDP_GRO, it cuts those that a
// socket of this host gets.
func (f *family) askSegments() {
	_ = f.rawOut.Control(func(fd uintptr) {
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO)
		f.segments = err == nil
	})
}

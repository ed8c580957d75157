package acp

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This is how interfaces and addresses are found where netlink is not to be had:
// not compiled in, forbidden by a filter of system calls, or by Android.

// ifreq is the kernel's, in its longest form.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

// ioctls asks the kernel about interfaces by a socket of whatever family.
type ioctls int

func openIoctls() (ioctls, error) {
	var first error
	for _, family := range []int{unix.AF_INET6, unix.AF_INET, unix.AF_UNIX} {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			return ioctls(fd), nil
		}
		if first == nil {
			first = os.NewSyscallError("socket", err)
		}
	}
	return 0, first
}

func (fd ioctls) close() { _ = unix.Close(int(fd)) }

func (fd ioctls) call(request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// ask asks about an interface.
func (fd ioctls) ask(request uintptr, name string) (data [24]byte, err error) {
	var r ifreq
	if len(name) >= len(r.name) {
		return data, unix.ENODEV
	}
	copy(r.name[:], name)
	err = fd.call(request, unsafe.Pointer(&r))
	return r.data, err
}

// named returns the name of the interface with an index, "" if there is none.
func (fd ioctls) named(index int) string {
	var r ifreq
	binary.NativeEndian.PutUint32(r.data[:], uint32(index))
	if fd.call(unix.SIOCGIFNAME, unsafe.Pointer(&r)) != nil {
		return ""
	}
	return text(r.name[:])
}

// probed is how many indexes are tried where nothing lists the interfaces.
const probed = 256

// ioctlLinks returns the interfaces with these names, and as many others as can
// be found, without their addresses.
func ioctlLinks(names []string) ([]netif, error) {
	fd, err := openIoctls()
	if err != nil {
		return nil, err
	}
	defer fd.close()
	names = slices.Clone(names)
	if dev, err := os.ReadFile(ofThread("dev")); err == nil {
		for line := range strings.Lines(string(dev)) {
			if name, _, ok := strings.Cut(line, ":"); ok {
				names = append(names, strings.TrimSpace(name))
			}
		}
	} else {
		for i := range probed {
			names = append(names, fd.named(i+1))
		}
	}
	slices.Sort(names)
	var ifs []netif
	var refused error
	for _, name := range slices.Compact(names) {
		index, err := fd.ask(unix.SIOCGIFINDEX, name)
		if err != nil { // it is gone, or was never there, or nothing is told at all
			if err != unix.ENODEV {
				refused = os.NewSyscallError("ioctl", err)
			}
			continue
		}
		flags, err := fd.ask(unix.SIOCGIFFLAGS, name)
		if err != nil {
			continue
		}
		ifi := netif{name: name, index: number(index[:])}
		ifi.setFlags(uint32(binary.NativeEndian.Uint16(flags[:])))
		if mtu, err := fd.ask(unix.SIOCGIFMTU, name); err == nil {
			ifi.mtu = number(mtu[:])
		}
		if hw, err := fd.ask(unix.SIOCGIFHWADDR, name); err == nil {
			ifi.hw = hardware(hw[2:8])
		}
		ifi.portOf = bridgeOf(&ifi)
		ifs = append(ifs, ifi)
	}
	if len(ifs) == 0 && refused != nil {
		return nil, refused
	}
	slices.SortFunc(ifs, func(a, b netif) int { return a.index - b.index })
	return ifs, nil
}

// bridgeOf returns the bridge that an interface is a port of, as far as the file
// system of this namespace says so.
func bridgeOf(ifi *netif) string {
	dir := "/sys/class/net/" + ifi.name
	index, err := os.ReadFile(dir + "/ifindex")
	if err != nil || strings.TrimSpace(string(index)) != strconv.Itoa(ifi.index) {
		return ""
	}
	bridge, err := os.Readlink(dir + "/brport/bridge")
	if err != nil {
		return ""
	}
	return bridge[strings.LastIndexByte(bridge, '/')+1:]
}

// ofThread is a file about the network of this thread.
func ofThread(name string) string { return "/proc/thread-self/net/" + name }

// otherAddrs adds the addresses that can be found without netlink.
func otherAddrs(ifs []netif, at map[int]*netif) {
	fd, err := openIoctls()
	if err == nil {
		defer fd.close()
		fd.addrs4(ifs)
	}
	if list, err := os.ReadFile(ofThread("if_inet6")); err == nil {
		parseInet6(string(list), at)
		return
	}
	for i := range ifs {
		if addr := sourceOn(ifs[i].index); addr.IsValid() && ifs[i].up {
			ifs[i].addrs = append(ifs[i].addrs, netifAddr{ip: addr})
		}
	}
}

// parseInet6 adds the addresses of a file if_inet6: each has a line with itself
// in 32 hexadecimal digits, the index of its interface, the length of its prefix,
// its scope and its flags, and the name of the interface.
func parseInet6(list string, at map[int]*netif) {
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		b, err := hex.DecodeString(f[0])
		ip, ok := netip.AddrFromSlice(b)
		index, err2 := strconv.ParseUint(f[1], 16, 31)
		flags, err3 := strconv.ParseUint(f[4], 16, 32)
		ifi := at[int(index)]
		if err == nil && err2 == nil && err3 == nil && ok && ip.Is6() && ifi != nil {
			ifi.addrs = append(ifi.addrs, netifAddr{ip: ip, flags: addrFlagsOf(unix.AF_INET6, uint8(flags))})
		}
	}
}

// addrs4 adds the IPv4 addresses.
func (fd ioctls) addrs4(ifs []netif) {
	size := unix.IFNAMSIZ + 24
	if unsafe.Sizeof(uintptr(0)) == 4 {
		size = unix.IFNAMSIZ + 16
	}
	buf := make([]byte, 1024*size)
	conf := struct {
		length int32
		buf    unsafe.Pointer
	}{int32(len(buf)), unsafe.Pointer(&buf[0])}
	if fd.call(unix.SIOCGIFCONF, unsafe.Pointer(&conf)) != nil {
		return
	}
	for b := buf[:min(max(int(conf.length), 0), len(buf))]; len(b) >= size; b = b[size:] {
		var r ifreq
		copy(r.name[:], b[:unix.IFNAMSIZ])
		copy(r.data[:], b[unix.IFNAMSIZ:size])
		name, _, _ := strings.Cut(text(r.name[:]), ":") // its label may have more
		i := slices.IndexFunc(ifs, func(ifi netif) bool { return ifi.name == name })
		if i < 0 {
			continue
		}
		a := netifAddr{ip: netip.AddrFrom4([4]byte(r.data[4:]))}
		bits := 32
		if fd.call(unix.SIOCGIFNETMASK, unsafe.Pointer(&r)) == nil {
			mask := binary.BigEndian.Uint32(r.data[4:])
			for bits = 0; mask<<bits&(1<<31) != 0; {
				bits++
			}
		}
		a.onLink, _ = a.ip.Prefix(bits)
		ifs[i].addrs = append(ifs[i].addrs, a)
	}
}

// sourceOn returns the address that the kernel would send from to the neighbours
// on a link, which it says without sending.
func sourceOn(index int) netip.Addr {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet6{Port: Port, Addr: Group6().As16(), ZoneId: uint32(index)}
	if unix.Connect(fd, to) != nil {
		return netip.Addr{}
	}
	if from, err := unix.Getsockname(fd); err == nil {
		if from, ok := from.(*unix.SockaddrInet6); ok && !netip.AddrFrom16(from.Addr).IsUnspecified() {
			return netip.AddrFrom16(from.Addr)
		}
	}
	return netip.Addr{}
}

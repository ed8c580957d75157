package netbed

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// IP does in the node what the command ip of iproute2 does with these arguments, and
// returns what that prints, as far as tests need it: it makes, sets, deletes and
// shows links, addresses and routes. It uses netlink, so no program need be
// installed.
func (n *Node) IP(t testing.TB, args ...string) string {
	t.Helper()
	out, err := n.ip(args...)
	if err != nil {
		t.Fatalf("netbed: %v: ip %s: %v", n, strings.Join(args, " "), err)
	}
	return out
}

// IP is [Node.IP] for the test's namespace.
func IP(t testing.TB, args ...string) string {
	t.Helper()
	return (*Node)(nil).IP(t, args...)
}

func (n *Node) ip(args ...string) (out string, err error) {
	if n == nil {
		return ip(args)
	}
	n.do(func(entered error) {
		if err = entered; err == nil {
			out, err = ip(args)
		}
	})
	return out, err
}

// ip does a command in the namespace of this thread. It repeats a lookup if somebody
// changed the answer meanwhile.
func ip(args []string) (out string, err error) {
	for range 100 {
		if out, err = command(args); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

func command(args []string) (string, error) {
	w := &words{rest: args}
	family := netlink.FAMILY_ALL
	for w.next("-6", "-o", "-oneline", "-batch") {
		switch w.word {
		case "-6":
			family = netlink.FAMILY_V6
		case "-batch":
			return "", batch(w.value())
		}
	}
	object, verb := w.value(), "show"
	if len(w.rest) > 0 {
		verb = w.value()
	}
	switch object + " " + verb {
	case "link add":
		return "", addLink(w)
	case "link set":
		return "", setLink(w)
	case "link del":
		return "", withLink(w.value(), netlink.LinkDel)
	case "link show":
		return showLinks(w)
	case "addr add", "addr replace", "addr del", "address delete":
		return "", changeAddr(verb, w)
	case "addr flush":
		return "", flushAddrs(family, w)
	case "addr show", "address show":
		return showAddrs(family, w)
	case "route add", "route replace", "route del":
		return "", setRoute(verb, w)
	case "route show":
		return showRoutes(family, w)
	}
	return "", fmt.Errorf("%q is not known here", object+" "+verb)
}

// words are the arguments of a command that have not been read yet.
type words struct {
	rest []string
	word string // the last that was read
	err  error
}

// next reads a word if it is one of those given.
func (w *words) next(oneOf ...string) bool {
	if len(w.rest) == 0 || !slices.Contains(oneOf, w.rest[0]) {
		return false
	}
	w.word, w.rest = w.rest[0], w.rest[1:]
	return true
}

// value reads a word, whatever it is.
func (w *words) value() string {
	if len(w.rest) == 0 {
		w.err = errors.New("a word is missing at the end")
		return ""
	}
	w.word, w.rest = w.rest[0], w.rest[1:]
	return w.word
}

func (w *words) number() int {
	n, err := strconv.Atoi(w.value())
	w.err = errors.Join(w.err, err)
	return n
}

func (w *words) mac() net.HardwareAddr {
	mac, err := net.ParseMAC(w.value())
	w.err = errors.Join(w.err, err)
	return mac
}

// prefix reads a prefix, or an address, which is a whole prefix.
func (w *words) prefix() *net.IPNet {
	text := w.value()
	p, err := netip.ParsePrefix(text)
	if !strings.Contains(text, "/") {
		var a netip.Addr
		a, err = netip.ParseAddr(text)
		p = netip.PrefixFrom(a, a.BitLen())
	}
	w.err = errors.Join(w.err, err)
	if err != nil {
		return nil
	}
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// end returns the first error, or says that there are words left.
func (w *words) end() error {
	if w.err == nil && len(w.rest) > 0 {
		return fmt.Errorf("%q is not known here", w.rest[0])
	}
	return w.err
}

// batch does the commands that are in a file, one on each line.
func batch(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(raw)) {
		if args := strings.Fields(line); len(args) > 0 {
			if _, err := ip(args); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimSpace(line), err)
			}
		}
	}
	return nil
}

// withLink calls a function for a link.
func withLink(name string, f func(netlink.Link) error) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return f(l)
}

// addLink is: NAME [index N] [address MAC] [netns PID] type veth peer name NAME
// [address MAC] [netns PID]; or type bridge [mcast_snooping 0].
func addLink(w *words) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = w.value()
	for w.next("index", "address", "netns") {
		switch w.word {
		case "index":
			attrs.Index = w.number()
		case "address":
			attrs.HardwareAddr = w.mac()
		case "netns":
			attrs.Namespace = netlink.NsPid(w.number())
		}
	}
	if !w.next("type") {
		return w.end()
	}
	switch kind := w.value(); kind {
	case "veth":
		l := &netlink.Veth{LinkAttrs: attrs}
		if w.next("peer") && w.next("name") {
			l.PeerName = w.value()
		}
		for w.next("address", "netns") {
			switch w.word {
			case "address":
				l.PeerHardwareAddr = w.mac()
			case "netns":
				l.PeerNamespace = netlink.NsPid(w.number())
			}
		}
		return errors.Join(w.end(), netlink.LinkAdd(l))
	case "bridge":
		l := &netlink.Bridge{LinkAttrs: attrs}
		if w.next("mcast_snooping") {
			on := w.number() != 0
			l.MulticastSnooping = &on
		}
		return errors.Join(w.end(), netlink.LinkAdd(l))
	default:
		return fmt.Errorf("links of type %q are not known here", kind)
	}
}

// setLink is: NAME and what is to be set of it, in that order.
func setLink(w *words) error {
	l, err := netlink.LinkByName(w.value())
	if err != nil {
		return err
	}
	for w.next("up", "down", "mtu", "name", "address", "master", "netns", "multicast", "arp", "addrgenmode") {
		switch w.word {
		case "up":
			err = netlink.LinkSetUp(l)
		case "down":
			err = netlink.LinkSetDown(l)
		case "mtu":
			err = netlink.LinkSetMTU(l, w.number())
		case "name":
			err = netlink.LinkSetName(l, w.value())
		case "address":
			err = netlink.LinkSetHardwareAddr(l, w.mac())
		case "master":
			err = withLink(w.value(), func(m netlink.Link) error { return netlink.LinkSetMaster(l, m) })
		case "netns":
			err = netlink.LinkSetNsPid(l, w.number())
		case "multicast":
			set := netlink.LinkSetMulticastOn
			if w.value() == "off" {
				set = netlink.LinkSetMulticastOff
			}
			err = set(l)
		case "arp":
			set := netlink.LinkSetARPOn
			if w.value() == "off" {
				set = netlink.LinkSetARPOff
			}
			err = set(l)
		case "addrgenmode":
			modes := map[string]int{"eui64": 0, "none": 1}
			err = netlink.LinkSetIP6AddrGenMode(l, modes[w.value()])
		}
		if err = errors.Join(w.err, err); err != nil {
			return err
		}
	}
	return w.end()
}

// showLinks is: [dev NAME] [up] [type KIND] [master BRIDGE]. There is a line for each
// link.
func showLinks(w *words) (string, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return "", err
	}
	for w.next("dev", "up", "type", "master") {
		what, value := w.word, ""
		if what != "up" {
			value = w.value()
		}
		all = slices.DeleteFunc(all, func(l netlink.Link) bool {
			switch what {
			case "dev":
				return l.Attrs().Name != value
			case "up":
				return l.Attrs().Flags&net.FlagUp == 0
			case "master":
				m, err := netlink.LinkByName(value)
				return err != nil || l.Attrs().MasterIndex != m.Attrs().Index
			}
			return l.Type() != value
		})
	}
	var lines []string
	for _, l := range all {
		a := l.Attrs()
		flags := strings.ToUpper(strings.ReplaceAll(a.Flags.String(), "|", ","))
		if a.RawFlags&unix.IFF_LOWER_UP != 0 {
			flags += ",LOWER_UP"
		}
		lines = append(lines, fmt.Sprintf("%d: %s: <%s> mtu %d state %s link/%s",
			a.Index, a.Name, flags, a.MTU, strings.ToUpper(a.OperState.String()), a.HardwareAddr))
	}
	return strings.Join(lines, "\n"), w.end()
}

// changeAddr is: PREFIX [peer PREFIX] dev NAME [nodad] [preferred_lft SECONDS], with
// peer, preferred_lft and nodad anywhere after the prefix.
func changeAddr(verb string, w *words) error {
	addr := &netlink.Addr{IPNet: w.prefix()}
	var name string
	for w.next("peer", "dev", "nodad", "preferred_lft") {
		switch w.word {
		case "peer":
			addr.Peer = w.prefix()
		case "dev":
			name = w.value()
		case "nodad":
			addr.Flags |= unix.IFA_F_NODAD
		case "preferred_lft":
			addr.PreferedLft = w.number()
			addr.ValidLft = math.MaxInt32 // 68 years
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	change := map[string]func(netlink.Link, *netlink.Addr) error{
		"add": netlink.AddrAdd, "replace": netlink.AddrReplace, "del": netlink.AddrDel, "delete": netlink.AddrDel,
	}[verb]
	return withLink(name, func(l netlink.Link) error { return change(l, addr) })
}

// flushAddrs is: dev NAME. All its addresses go.
func flushAddrs(family int, w *words) error {
	if !w.next("dev") {
		return errors.New("addresses of which link?")
	}
	return withLink(w.value(), func(l netlink.Link) error {
		all, err := netlink.AddrList(l, family)
		for _, a := range all {
			err = errors.Join(err, netlink.AddrDel(l, &a))
		}
		return errors.Join(w.end(), err)
	})
}

// showAddrs is: dev NAME [scope link]. There is a line for each address.
func showAddrs(family int, w *words) (string, error) {
	if !w.next("dev") {
		return "", errors.New("addresses of which link?")
	}
	var lines []string
	err := withLink(w.value(), func(l netlink.Link) error {
		all, err := netlink.AddrList(l, family)
		if w.next("scope") && w.value() == "link" {
			all = slices.DeleteFunc(all, func(a netlink.Addr) bool { return netlink.Scope(a.Scope) != netlink.SCOPE_LINK })
		}
		for _, a := range all {
			kind := "inet"
			if a.IP.To4() == nil {
				kind = "inet6"
			}
			line := fmt.Sprintf("%d: %s %s %v scope %s", l.Attrs().Index, l.Attrs().Name, kind, a.IPNet, scopes[netlink.Scope(a.Scope)])
			for _, f := range addrFlags {
				if a.Flags&f.flag != 0 {
					line += " " + f.name
				}
			}
			lines = append(lines, line)
		}
		return errors.Join(w.end(), err)
	})
	return strings.Join(lines, "\n"), err
}

var scopes = map[netlink.Scope]string{netlink.SCOPE_UNIVERSE: "global", netlink.SCOPE_LINK: "link", netlink.SCOPE_HOST: "host"}

var addrFlags = []struct {
	flag int
	name string
}{{unix.IFA_F_TENTATIVE, "tentative"}, {unix.IFA_F_DADFAILED, "dadfailed"}, {unix.IFA_F_DEPRECATED, "deprecated"}}

// setRoute is: [local or multicast] PREFIX or default [via ADDRESS] dev NAME.
func setRoute(verb string, w *words) error {
	r := &netlink.Route{}
	if w.next("local", "multicast") {
		r.Type, r.Table, r.Scope = unix.RTN_LOCAL, unix.RT_TABLE_LOCAL, netlink.SCOPE_HOST
		if w.word == "multicast" {
			r.Type, r.Scope = unix.RTN_MULTICAST, netlink.SCOPE_UNIVERSE
		}
	}
	if !w.next("default") {
		r.Dst = w.prefix()
	}
	var name string
	for w.next("via", "dev") {
		switch w.word {
		case "via":
			r.Gw = net.ParseIP(w.value())
		case "dev":
			name = w.value()
		}
	}
	if r.Dst == nil { // the default, of the family of the gateway
		bits := 8 * net.IPv6len
		if r.Gw.To4() != nil {
			bits = 8 * net.IPv4len
		}
		r.Dst = &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}
	}
	if err := w.end(); err != nil {
		return err
	}
	if name != "" {
		if err := withLink(name, func(l netlink.Link) error { r.LinkIndex = l.Attrs().Index; return nil }); err != nil {
			return err
		}
	}
	switch verb {
	case "replace":
		return netlink.RouteReplace(r)
	case "del":
		return netlink.RouteDel(r)
	}
	return netlink.RouteAdd(r)
}

// showRoutes is: table local ADDRESS.
func showRoutes(family int, w *words) (string, error) {
	if !w.next("table") || w.value() != "local" {
		return "", errors.New("routes of which table?")
	}
	dst := w.prefix()
	if err := w.end(); err != nil {
		return "", err
	}
	all, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_LOCAL, Dst: dst},
		netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	var lines []string
	for _, r := range all {
		lines = append(lines, fmt.Sprintf("local %v", r.Dst))
	}
	return strings.Join(lines, "\n"), err
}

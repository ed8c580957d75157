package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// What graspctl links says where something is wrong: a line that says what, and what can
// be done.
func TestLinksThatAreWrong(t *testing.T) {
	longtest.Need(t) // it waits for addresses that do not come
	if !netbed.Enter(t) {
		return
	}
	says := func(status int, args string, lines ...string) {
		t.Helper()
		got, out, errOut := ctl(strings.NewReader(""), append([]string{"links"}, strings.Fields(args)...)...)
		t.Logf("links %s\n%s%s", args, out, errOut)
		assert.Equal(t, status, got)
		for _, line := range lines {
			assert.Regexp(t, "(?m)^"+line+"$", out)
		}
		if status != 0 {
			assert.Contains(t, errOut, "no link")
		}
	}
	says(1, "", `1 +lo +loopback +it is used only if it is named: --link lo`)

	netbed.IP(t, "link", "add", "va", "type", "veth", "peer", "name", "vb")
	netbed.Up(t, "va")
	says(1, "", `\d+ +va +no carrier +there is no cable, or the other end is switched off`,
		`\d+ +vb +down +it is switched off: ip link set vb up`)
	says(1, "--link eth7", `- +eth7 +no such interface +ip link lists those there are; it is used as soon as it is there`,
		`\d+ +va +not named +--link names others`)

	netbed.Up(t, "vb")
	netbed.LinkLocal(t, "va")
	netbed.LinkLocal(t, "vb")
	netbed.IP(t, "link", "set", "va", "multicast", "off")
	says(0, "", `\d+ +va +no multicast +its flags say so; if it carries multicast all the same, name it`,
		`\d+ +vb +in use *`, `Announced on vb: \[fe80::\S+\]`)
	netbed.IP(t, "link", "set", "va", "multicast", "on")

	netbed.Bridge(t, "br0", "vb")
	says(0, "", `\d+ +vb +port of a bridge +what comes by it is for br0: that is the link, unless the port is named`)
	netbed.Delete(t, "br0")

	netbed.IP(t, "-6", "addr", "flush", "dev", "va")
	says(1, "--link va", `\d+ +va +no usable address +neither a link-local one of IPv6 nor one of IPv4: is IPv6 switched off on it\?`)
	netbed.IP(t, "link", "set", "va", "mtu", "1200")
	says(1, "--link va", `\d+ +va +refused by the system +an MTU of 1200 is too small, GRASP needs 1280: join ff02::13: .*`)

	// This process can do nothing about its links from now on.
	netbed.Refuse(t, netbed.NoOption(unix.IPPROTO_IPV6, unix.MCAST_JOIN_GROUP, unix.EPERM),
		netbed.NoOption(unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, unix.EPERM), netbed.NoFamily(unix.AF_NETLINK, unix.EAFNOSUPPORT))
	says(1, "--link vb", `\d+ +vb +refused by the system +join ff02::13: .*operation not permitted; it is tried again`,
		`Trouble: .*netlink lists no interfaces .*: those that other means find are used`)
}

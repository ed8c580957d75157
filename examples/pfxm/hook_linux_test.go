package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/clitest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/output"
)

// A router gets prefixes from an origin by GRASP, puts addresses on the interface towards
// its hosts, and has radvd announce the prefix: a host gets an address and reaches the
// router. After the router's death all is the same, and when the prefix changes or goes the
// host no longer prefers the old one.
func TestRouter(t *testing.T) {
	radvd, err := exec.LookPath("radvd")
	if err != nil {
		t.Skip("no radvd to announce prefixes (Debian package radvd)")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip for the hook that sets addresses (Debian package iproute2)")
	}
	if !netbed.Enter(t) {
		return
	}
	exe, dir := clitest.Build(t, "pfxm"), t.TempDir()
	state, conf := filepath.Join(dir, "state"), filepath.Join(dir, "radvd.conf")
	t.Setenv("RADVD_CONF", conf)
	t.Setenv("RADVD_PID", filepath.Join(dir, "radvd.pid"))
	origin, router, host := netbed.NewNode(t, "origin"), netbed.NewNode(t, "router"), netbed.NewNode(t, "host")
	netbed.Connect(t, origin, router)
	netbed.Connect(t, router, host)
	origin.AddAddr(t, "to-router", "fd00::1/64")
	router.AddAddr(t, "to-origin", "fd00::2/64")
	router.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	host.Sysctl(t, "net/ipv6/conf/to-router/accept_ra", "1")
	host.Sysctl(t, "net/ipv6/conf/to-router/autoconf", "1")

	clitest.Start(t, origin, exe, "-link", "to-router", "-pool", "2001:db8::/32,10.0.0.0/8")
	start := func(interfaces string, flags ...string) *clitest.Process {
		args := []string{"-link", "to-origin", "-state", state, "-interface", interfaces, "-hook", "hooks/addresses.sh", "-hook", "hooks/radvd.sh"}
		return clitest.Start(t, router, exe, append(args, flags...)...)
	}
	addresses := func(n *netbed.Node, name string) string { return n.IP(t, "-oneline", "address", "show", "dev", name) }
	eventually := func(what string, cond func() bool) { t.Helper(); netbed.Eventually(t, time.Minute, what, cond) }

	p := start("to-host")
	eventually("the router has addresses", func() bool {
		all := addresses(router, "to-host")
		return strings.Contains(all, " 2001:db8::1/64 ") && strings.Contains(all, " 10.0.0.1/26 ")
	})
	announce(t, router, radvd, conf)
	eventually("the host has an address of the prefix", func() bool { return strings.Contains(addresses(host, "to-router"), " 2001:db8::") })
	t.Log(addresses(host, "to-router"))
	reach(t, host, router, netip.MustParseAddr("2001:db8::1"))

	// After its sudden death, and that of its addresses, the router has the same prefix.
	p.Kill()
	router.IP(t, "address", "delete", "2001:db8::1/64", "dev", "to-host")
	p = start("to-host")
	eventually("the router has its address again", func() bool { return strings.Contains(addresses(router, "to-host"), " 2001:db8::1/64 ") })
	p.Stop()

	// The prefix is to be another one.
	p = start("to-host", "-subnet", "60")
	eventually("the router has an address of another prefix", func() bool {
		all := addresses(router, "to-host")
		return strings.Contains(all, "/60 ") && !strings.Contains(all, " 2001:db8::1/64 ")
	})
	eventually("the host no longer prefers its address", func() bool {
		return strings.Contains(addresses(host, "to-router"), "deprecated")
	})
	p.Stop()

	// Another interface is to have one.
	router.IP(t, "link", "add", "lan1", "type", "bridge")
	router.Up(t, "lan1")
	start("lan1")
	eventually("the other interface has an address", func() bool {
		return strings.Contains(addresses(router, "lan1"), "/64 scope global") && !strings.Contains(addresses(router, "to-host"), "2001:db8:")
	})
	eventually("radvd is to announce it", func() bool {
		b, err := os.ReadFile(conf)
		return err == nil && strings.Contains(string(b), "interface lan1 {")
	})
	// It is made anew, without the address.
	router.IP(t, "link", "del", "lan1")
	router.IP(t, "link", "add", "lan1", "type", "bridge")
	router.Up(t, "lan1")
	eventually("the new interface has an address", func() bool { return strings.Contains(addresses(router, "lan1"), "/64 scope global") })
	eventually("the first interface has no address of IPv4", func() bool { return !strings.Contains(addresses(router, "to-host"), " 10.") })
}

// announce runs radvd until the test ends.
func announce(t *testing.T, router *netbed.Node, radvd, conf string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := router.Exec(ctx, radvd, "-n", "-m", "stderr", "-C", conf, "-p", os.Getenv("RADVD_PID"))
	var log output.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
}

// reach has a host exchange a datagram with an address of the router.
func reach(t *testing.T, host, router *netbed.Node, a netip.Addr) {
	t.Helper()
	var echo net.PacketConn
	var err error
	router.Do(t, func() { echo, err = net.ListenPacket("udp", netip.AddrPortFrom(a, 0).String()) })
	require.NoError(t, err)
	defer echo.Close()
	go func() {
		b := make([]byte, 10)
		for {
			n, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteTo(b[:n], from)
		}
	}()
	var conn net.Conn
	host.Do(t, func() { conn, err = net.Dial("udp", echo.LocalAddr().String()) })
	require.NoError(t, err)
	defer conn.Close()
	b := make([]byte, 10)
	netbed.Eventually(t, 30*time.Second, "the host reaches the router", func() bool {
		_, _ = conn.Write([]byte("hello"))
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := conn.Read(b)
		return err == nil && string(b[:n]) == "hello"
	})
}

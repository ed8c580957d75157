package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notifier tells systemd, or what else started this daemon, how it goes: see
// sd_notify(3). The protocol is a datagram with lines, so it needs no library.
type notifier struct {
	to    *net.UnixAddr // nil: nobody wants to know
	every time.Duration // between signs of life; 0: none are wanted
	last  time.Time     // when the last one was sent
	said  string        // the last status, and when
	at    time.Time
}

// newNotifier returns the notifier for the process's environment, in which programs
// that are started later find it no more.
func newNotifier() *notifier {
	n := new(notifier)
	if path := os.Getenv("NOTIFY_SOCKET"); path != "" {
		n.to = &net.UnixAddr{Name: path, Net: "unixgram"} // a @ at the start makes it abstract
	}
	pid := os.Getenv("WATCHDOG_PID")
	if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && (pid == "" || pid == fmt.Sprint(os.Getpid())) {
		n.every = time.Duration(us) * time.Microsecond / 2
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name) // cannot fail with these names
	}
	return n
}

// send sends lines. That it failed shows at the other end, which has a timeout.
func (n *notifier) send(lines string) {
	if n.to == nil {
		return
	}
	c, err := net.DialUnix("unixgram", nil, n.to)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(lines))
}

func (n *notifier) ready()    { n.send("READY=1\n") }
func (n *notifier) stopping() { n.send("STOPPING=1\nSTATUS=Stopping\n") }

func (n *notifier) reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail with this clock
	n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d\n", now.Nano()/1000))
}

// statusInterval is how long a status stands at least.
const statusInterval = 5 * time.Second

// status tells how it goes if that is new.
func (n *notifier) status(text string) {
	if text != n.said && time.Since(n.at) >= statusInterval {
		n.said, n.at = text, time.Now()
		n.send("STATUS=" + text + "\n")
	}
}

// alive gives a sign of life when it is time for one.
func (n *notifier) alive() {
	if n.every > 0 && time.Since(n.last) >= n.every {
		n.last = time.Now()
		n.send("WATCHDOG=1\n")
	}
}

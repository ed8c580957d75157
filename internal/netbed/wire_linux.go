package netbed

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Trouble is what a [Wire] does to frames. The zero value carries them as they come.
type Trouble struct {
	// Lose, Repeat and Reorder say how likely a frame is lost, carried twice, or
	// held back so that later ones overtake it: from 0 to 1.
	Lose, Repeat, Reorder float64
	// Delay is how long each frame takes, and Jitter how much longer at most.
	Delay, Jitter time.Duration
	// Wholly has all frames be in trouble. Otherwise those that are neither UDP nor
	// TCP over IP are only delayed: a kernel that loses three solicitations of a
	// neighbour in a row holds it to be gone.
	Wholly bool
	// Window is how many bytes TCP may have under way to who sends the frames, at most.
	// That holds where connections do without scaling: net/ipv4/tcp_window_scaling is 0.
	// 0 leaves windows as they are.
	Window uint16
	// NoEarly has the wire lose the segments that open a connection and carry data
	// (TCP Fast Open, RFC 7413).
	NoEarly bool
}

// holdBack is how much longer a frame takes that is to be overtaken.
const holdBack = 20 * time.Millisecond

// WireCounts says what became of frames. Frames counts those that were sent, of which
// some were Lost, and some Repeated: they arrived twice. Overtaken counts those that
// arrived after a frame that was sent later.
type WireCounts struct {
	Frames, Lost, Repeated, Overtaken int
}

// Wire is a link between two interfaces that this process carries frame by frame. What
// comes faster than that is lost: a few hundred frames may wait.
type Wire struct {
	ways [2]*way
	done sync.WaitGroup

	mu     sync.Mutex // guards all following fields, and the trouble of the ways
	counts WireCounts
}

// wires counts the wires of this process, for the names of their interfaces.
var wires atomic.Int32

// NewWire makes a link between two nodes like [Cable], with trouble. It is there until
// the end of the test. With the same seed, the n-th frame of a kind (TCP, UDP to a
// group, other UDP, all else) in a direction has the same luck.
func NewWire(t testing.TB, seed uint64, a *Node, nameA string, b *Node, nameB string, trouble Trouble) *Wire {
	t.Helper()
	w := new(Wire)
	var ends [2]*os.File
	for i, end := range []struct {
		node *Node
		name string
	}{{a, nameA}, {b, nameB}} {
		name := fmt.Sprint("wire", wires.Add(1))
		IP(t, "link", "add", end.name, "type", "veth", "peer", "name", name)
		t.Cleanup(func() { _, _ = ip([]string{"link", "del", name}) })
		Sysctl(t, "net/ipv6/conf/"+name+"/disable_ipv6", "1") // it only carries
		fd, _, err := packetSocket(name, unix.ETH_P_ALL)
		if err == nil {
			// Frames go on as they are: with the sums that are still to be made, and
			// those of TCP that are still to be cut.
			err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
				unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
			ends[i] = os.NewFile(uintptr(fd), name)
			t.Cleanup(func() { _ = ends[i].Close() })
		}
		if err != nil {
			t.Fatalf("netbed: the wire's end %s: %v", name, err)
		}
		Up(t, name)
	}
	for i := range w.ways {
		y := &way{wire: w, in: ends[i], out: ends[1-i], came: make(chan flight, 1024), trouble: trouble}
		for k := range y.luck {
			y.luck[k] = rand.New(rand.NewPCG(seed, uint64(2*k+i)))
		}
		w.ways[i] = y
		w.done.Go(y.read)
		w.done.Go(y.write)
	}
	t.Cleanup(func() { // before the ends are gone
		for _, f := range ends {
			_ = f.Close()
		}
		w.done.Wait()
	})
	for _, end := range []struct {
		node *Node
		name string
	}{{a, nameA}, {b, nameB}} {
		if end.node == nil {
			Up(t, end.name)
		} else {
			end.node.MoveLink(t, end.name)
		}
	}
	return w
}

// Set changes the trouble for frames to come.
func (w *Wire) Set(trouble Trouble) { w.SetWays(trouble, trouble) }

// SetWays is [Wire.Set] with trouble of its own for the frames that the first end sends,
// and for those that the second one does.
func (w *Wire) SetWays(first, second Trouble) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ways[0].trouble, w.ways[1].trouble = first, second
}

// Counts returns what became of the frames so far that were in trouble: see
// [Trouble.Wholly].
func (w *Wire) Counts() WireCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts
}

// count changes the counts.
func (w *Wire) count(f func(*WireCounts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.counts)
}

// kind tells frames apart, so that what a kernel sends unasked takes nobody's luck.
type kind int

const (
	kindElse kind = iota
	kindTCP
	kindGroup // UDP to a group
	kindUDP
	kinds
)

// virtioHeader is what comes before each frame.
const virtioHeader = 10

// kindOf returns the kind of an Ethernet frame.
func kindOf(frame []byte) kind {
	if len(frame) < ethernetHeader+40 {
		return kindElse
	}
	protocol, group := byte(0), frame[0]&1 != 0
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		protocol = frame[ethernetHeader+9]
	case unix.ETH_P_IPV6:
		protocol = frame[ethernetHeader+6]
	}
	switch {
	case protocol == unix.IPPROTO_TCP:
		return kindTCP
	case protocol == unix.IPPROTO_UDP && group:
		return kindGroup
	case protocol == unix.IPPROTO_UDP:
		return kindUDP
	}
	return kindElse
}

// way is one of the two directions of a wire.
type way struct {
	wire    *Wire
	in, out *os.File
	luck    [kinds]*rand.Rand // for read
	came    chan flight       // from read to write, which ends with it
	trouble Trouble           // guarded by wire.mu
}

// flight is a frame under way.
type flight struct {
	frame []byte
	no    int // in the order they were sent
	due   time.Time
	spare bool // it is in no trouble, and not counted
}

// read reads frames and decides what becomes of each, until the wire is gone.
func (y *way) read() {
	defer close(y.came)
	buf := make([]byte, virtioHeader+1<<16)
	for no := 0; ; no++ {
		n, err := y.in.Read(buf)
		switch {
		case errors.Is(err, syscall.ENETDOWN):
			continue // said once
		case errors.Is(err, syscall.EINVAL):
			continue // before Linux 6.2: datagrams that left as one packet, which are lost
		case err != nil:
			return
		case n < virtioHeader:
			continue
		}
		for _, f := range y.fates(buf[:n], no) {
			y.came <- f
		}
	}
}

// fates returns the flights of a frame: none, one or two.
func (y *way) fates(frame []byte, no int) []flight {
	y.wire.mu.Lock()
	defer y.wire.mu.Unlock()
	trouble, counts := &y.trouble, &y.wire.counts
	k := kindOf(frame[virtioHeader:])
	luck := y.luck[k]
	f := flight{frame: append([]byte(nil), frame...), no: no, due: time.Now().Add(trouble.Delay)}
	if k == kindTCP && trouble.Window > 0 {
		clampWindow(f.frame, trouble.Window)
	}
	// All is drawn for each frame, so that the next one's luck is the same whatever
	// becomes of this one.
	lost, twice, late := luck.Float64() < trouble.Lose, luck.Float64() < trouble.Repeat, luck.Float64() < trouble.Reorder
	jitter := time.Duration(luck.Float64() * float64(trouble.Jitter))
	if f.spare = k == kindElse && !trouble.Wholly; f.spare {
		return []flight{f}
	}
	counts.Frames++
	f.due = f.due.Add(jitter)
	if late {
		f.due = f.due.Add(holdBack)
	}
	switch {
	case lost, k == kindTCP && trouble.NoEarly && isEarly(frame):
		counts.Lost++
		return nil
	case twice:
		counts.Repeated++
		return []flight{f, f}
	}
	return []flight{f}
}

// write hands frames on when they are due, until no more come.
func (y *way) write() {
	var flying flights
	last := -1 // of those that have arrived
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case f, ok := <-y.came:
			if !ok {
				return
			}
			heap.Push(&flying, f)
		case <-timer.C:
		}
		for len(flying) > 0 && !time.Now().Before(flying[0].due) {
			f := heap.Pop(&flying).(flight)
			if !f.spare && f.no < last {
				y.wire.count(func(c *WireCounts) { c.Overtaken++ })
			}
			if !f.spare {
				last = max(last, f.no)
			}
			_, _ = y.out.Write(f.frame) // what is down takes nothing
		}
		if len(flying) > 0 {
			timer.Reset(time.Until(flying[0].due))
		}
	}
}

// flights is a heap of frames, of which the one that is due next comes first.
type flights []flight

func (h flights) Len() int      { return len(h) }
func (h flights) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h flights) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].no < h[j].no
	}
	return h[i].due.Before(h[j].due)
}
func (h *flights) Push(f any) { *h = append(*h, f.(flight)) }
func (h *flights) Pop() any {
	f := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return f
}

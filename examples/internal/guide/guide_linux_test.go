package guide

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// envRole makes the process a node of these tests: the test binary starts itself
// so.
const envRole = "GRASP_GUIDE_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(envRole)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := play(role); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

// play is a node in a role, until the end of the input.
func play(role string) error {
	g, err := grasp.New(grasp.Config{})
	if err != nil {
		return err
	}
	defer g.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := g.WaitForLink(ctx); err != nil {
		return err
	}
	asa, err := g.RegisterASA(role)
	if err != nil {
		return err
	}
	lines := make(chan string)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
		stop()
	}()
	switch role {
	case "source":
		news := make(chan Settings)
		go func() {
			for text := range lines {
				version, _ := strconv.Atoi(text)
				news <- Settings{Version: version}
			}
		}()
		return Distribute(ctx, asa, news)
	case "leaf":
		return Follow(ctx, asa, func(s Settings) { fmt.Println(s.Version) })
	case "pool":
		return NewPool(1<<30).Serve(ctx, asa)
	case "client":
		count, _ := strconv.Atoi(<-lines)
		return negotiate(ctx, asa, count)
	}
	<-ctx.Done() // a relay
	return nil
}

// negotiate has bandwidth given to it many times, 100 at once, and says how
// often that failed, and why at last.
func negotiate(ctx context.Context, asa *grasp.ASA, count int) error {
	if err := asa.RegisterObj(Bandwidth.Objective, grasp.RegisterOptions{}); err != nil {
		return err
	}
	for { // until the pool is there
		found, err := asa.Discover(ctx, Bandwidth.Objective, time.Second, grasp.DiscoverOptions{First: true})
		if err != nil || len(found) > 0 {
			break
		}
	}
	var left, failed atomic.Int64
	var last atomic.Value
	left.Store(int64(count))
	var clients sync.WaitGroup
	for i := range 100 {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				b := Bandwidth
				b.Dry = i%10 == 0
				if s, _, err := b.ReqNegotiate(ctx, asa, 1+i, nil, 0); err != nil || s != nil {
					failed.Add(1)
					last.Store(fmt.Sprint(err))
				}
			}
		})
	}
	clients.Wait()
	fmt.Println("failed", failed.Load(), last.Load())
	return nil
}

// process is a node that plays a role.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, node *netbed.Node, role string) *process {
	t.Helper()
	cmd := node.Exec(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+role)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd, in, bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	return p
}

// kill ends the node without a word, as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) say(t *testing.T, line any) {
	t.Helper()
	_, err := fmt.Fprintln(p.in, line)
	require.NoError(t, err)
}

// hear returns the next line of the node.
func (p *process) hear(t *testing.T) string {
	t.Helper()
	defer time.AfterFunc(2*time.Minute, p.kill).Stop()
	require.True(t, p.out.Scan(), "the node says nothing more: %v", p.out.Err())
	return p.out.Text()
}

// chain makes two nodes with a relay between them, through which the kernel
// routes.
func chain(t *testing.T) (left, right *netbed.Node) {
	t.Helper()
	nodes := netbed.Chain(t, 3)
	for i, prefix := range []string{"fd00:1::%d/64", "fd00:2::%d/64"} {
		nodes[i].AddAddr(t, "to-"+nodes[i+1].Name, fmt.Sprintf(prefix, 1))
		nodes[i+1].AddAddr(t, "to-"+nodes[i].Name, fmt.Sprintf(prefix, 2))
	}
	nodes[0].IP(t, "route", "add", "fd00:2::/64", "via", "fd00:1::2")
	nodes[2].IP(t, "route", "add", "fd00:1::/64", "via", "fd00:2::1")
	out, err := nodes[1].Exec(t.Context(), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding").CombinedOutput()
	require.NoError(t, err, "%s", out)
	start(t, nodes[1], "relay")
	return nodes[0], nodes[2]
}

// Settings cross a relay, and survive that either end dies and comes again.
func TestSettingsOnRealLinks(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	left, right := chain(t)
	source := start(t, left, "source")
	source.say(t, 1)
	leaf := start(t, right, "leaf")
	assert.Equal(t, "1", leaf.hear(t))
	for version := 2; version <= 20; version++ {
		source.say(t, version)
		assert.Equal(t, strconv.Itoa(version), leaf.hear(t))
	}
	leaf.kill()
	source.say(t, 21)
	leaf = start(t, right, "leaf")
	assert.Equal(t, "21", leaf.hear(t), "it comes later, and asks")
	source.kill()
	source = start(t, left, "source")
	source.say(t, 22)
	assert.Equal(t, "22", leaf.hear(t))
}

// A hundred clients at once negotiate through a relay, and none fails.
func TestBandwidthOnRealLinks(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	left, right := chain(t)
	start(t, left, "pool")
	client := start(t, right, "client")
	client.say(t, longtest.Scaled(10_000))
	assert.Equal(t, "failed 0 <nil>", strings.TrimSpace(client.hear(t)))
}

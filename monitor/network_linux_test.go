package monitor

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
)

// building is a network of twelve nodes, each a program in a namespace of its own: four
// relays, which join three LANs, and eight others.
type building struct {
	t       *testing.T
	dir     string // of the programs and certificates
	lans    map[string]*netbed.LAN
	ports   int
	follows map[string]string // names and URLs of the monitors
}

const buildingToken = "token-of-the-building"

func newBuilding(t *testing.T) *building {
	t.Helper()
	b := &building{t: t, dir: t.TempDir(), lans: make(map[string]*netbed.LAN), follows: make(map[string]string)}
	for _, name := range []string{"gdaemon", "briggs", "gray"} {
		out, err := exec.Command("go", "build", "-o", b.dir+"/", "../examples/"+name).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	for i, lan := range []string{"north", "south", "east"} {
		netbed.Bridge(t, lan)
		netbed.AddAddr(t, lan, fmt.Sprintf("fd00:%d::ffff/64", i))
	}
	own, err := domain.Create(b.dir+"/own", "building")
	require.NoError(t, err)
	other, err := domain.Create(b.dir+"/other", "elsewhere")
	require.NoError(t, err)
	for _, name := range []string{"r1", "r2", "r3", "r4", "briggs", "gray1", "gray2", "gray3", "h1", "h2", "h3", "h4"} {
		for dir, d := range map[string]*domain.Domain{"own": own, "other": other} {
			cert, err := d.Issue(name, time.Hour)
			require.NoError(t, err)
			require.NoError(t, domain.SaveMember(filepath.Join(b.dir, dir), name, cert))
		}
	}
	return b
}

// plug connects a node with a LAN.
func (b *building) plug(n *netbed.Node, lan string, inside string) (outside string) {
	b.ports++
	outside = fmt.Sprintf("p%d", b.ports)
	netbed.VethPair(b.t, outside, fmt.Sprintf("q%d", b.ports))
	netbed.IP(b.t, "link", "set", fmt.Sprintf("q%d", b.ports), "name", inside)
	netbed.IP(b.t, "link", "set", outside, "master", lan)
	n.MoveLink(b.t, inside)
	n.AddAddr(b.t, inside, fmt.Sprintf("fd00:%d::%x/64", strings.Index("nse", lan[:1]), b.ports))
	return outside
}

// run runs a program on a node, and follows its monitor.
func (b *building) run(n *netbed.Node, domain, program string, args ...string) *exec.Cmd {
	b.t.Helper()
	args = append([]string{"--plane", "tls", "--domain", filepath.Join(b.dir, domain), "--member", n.Name, "--monitor", "[::]:8990"}, args...)
	cmd := n.Exec(context.Background(), filepath.Join(b.dir, program), args...)
	cmd.Env = append(os.Environ(), "GRASP_MONITOR_TOKEN="+buildingToken)
	out, err := cmd.StdoutPipe()
	require.NoError(b.t, err)
	cmd.Stderr = os.Stderr
	require.NoError(b.t, cmd.Start())
	b.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
		}
	}()
	return cmd
}

// Twelve nodes, three of which are broken, each in another way: the page says so at
// once, and the map does.
func TestBrowserNetwork(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	b := newBuilding(t)
	nodes := make(map[string]*netbed.Node)
	var last *exec.Cmd
	unplugged := ""
	for _, n := range []struct {
		name, program, domain string
		lans                  []string
		args                  []string
	}{
		{"r1", "gdaemon", "own", []string{"north", "south"}, nil},
		{"r2", "gdaemon", "own", []string{"north", "east"}, nil},
		{"r3", "gdaemon", "own", []string{"south", "east"}, nil},
		{"r4", "gdaemon", "own", []string{"east", "south"}, []string{"--link", "eth0,eth1"}}, // the second has no carrier
		{"briggs", "briggs", "own", []string{"north"}, []string{"--dialogue=false"}},
		{"gray1", "gray", "own", []string{"south"}, nil},
		{"gray2", "gray", "own", []string{"east"}, nil},
		{"gray3", "gray", "other", []string{"south"}, nil}, // is of another domain
		{"h1", "gdaemon", "own", []string{"north"}, nil},
		{"h2", "gdaemon", "own", []string{"south"}, nil},
		{"h3", "gdaemon", "own", []string{"east"}, nil}, // does not answer any more
		{"h4", "gdaemon", "own", []string{"north"}, nil},
	} {
		node := netbed.NewNode(t, n.name)
		nodes[n.name] = node
		for i, lan := range n.lans {
			port := b.plug(node, lan, fmt.Sprintf("eth%d", i))
			if n.name == "r4" {
				unplugged = port
			}
			if i == 0 {
				b.follows[n.name] = fmt.Sprintf("http://[fd00:%d::%x]:8990/", strings.Index("nse", lan[:1]), b.ports)
			}
		}
		if n.name == "r4" {
			netbed.Down(t, unplugged)
		}
		cmd := b.run(node, n.domain, n.program, n.args...)
		if n.name == "h3" {
			last = cmd
		}
	}
	m := New(Config{Caption: "Building", Token: buildingToken})
	defer m.Close()
	for name, url := range b.follows {
		_, err := m.Follow(name, url)
		require.NoError(t, err)
	}
	url, err := m.Listen("127.0.0.1:0")
	require.NoError(t, err)
	page, err := neturl.Parse(url)
	require.NoError(t, err)
	get := func(path string, header ...string) int {
		r, err := http.NewRequest(http.MethodGet, "http://"+page.Host+"/"+path, nil)
		require.NoError(t, err)
		if len(header) > 0 {
			r.Header.Set("Authorization", header[0])
		}
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	assert.Equal(t, http.StatusUnauthorized, get("network"))
	assert.Equal(t, http.StatusOK, get("network", "Bearer "+buildingToken))

	var net Network
	faulty := func(name, text string) bool {
		for _, f := range net.Faults {
			if f.Node == name && strings.Contains(f.Text, text) {
				return true
			}
		}
		return false
	}
	netbed.Eventually(t, 2*time.Minute, "all are neighbours", func() bool {
		time.Sleep(500 * time.Millisecond)
		net = m.Network(t.Context())
		full := 0
		for _, n := range net.Nodes {
			if len(n.Neighbours) >= 3 {
				full++
			}
		}
		return len(net.Nodes) == 12 && full == 11 && faulty("gray3", "no trust anchor") && len(net.Floods) > 0
	})
	require.NoError(t, last.Process.Signal(syscall.SIGSTOP))
	netbed.Eventually(t, 2*time.Minute, "three faults", func() bool {
		time.Sleep(500 * time.Millisecond)
		net = m.Network(t.Context())
		return faulty("h3", "none in time") && faulty("r4", "eth1: no carrier") && faulty("gray3", "no trust anchor") &&
			len(net.Faults) == 3 && len(net.Links) == 3 // a busy machine may be late with others, too
	})

	br := newBrowser(t)
	br.open(url + "#network")
	br.await("document.querySelectorAll('#map .node').length === 12 && document.querySelectorAll('#faults .bad').length >= 3")
	br.screenshot("network")
	everyWordThere(t, br)
	places := func() map[string]string {
		return eval[map[string]string](br, "Object.fromEntries([...document.querySelectorAll('#map .node')].map(e => [e.querySelector('.name').textContent, e.querySelector('rect').getAttribute('x') + ',' + e.querySelector('rect').getAttribute('y')]))")
	}
	before := places()
	time.Sleep(5 * time.Second)
	assert.Equal(t, before, places(), "the layout stays")

	// The page of a relay, with its neighbours and whom it refused, for who has the token.
	br.open(b.follows["r1"] + "?token=" + buildingToken)
	br.await("location.search === '' && document.getElementById('connection')?.className === 'good'")
	br.open(b.follows["r1"] + "#monitor")
	br.await("document.querySelectorAll('.part-neighbours tbody tr').length === 7 && document.querySelectorAll('.part-refusals tbody tr').length > 0")
	everyWordThere(t, br)
	br.screenshot("relay")
	br.open(url + "#network")
	br.await("document.querySelectorAll('#map .node').length === 12")
	br.dark(true)
	br.screenshot("network-dark")
	br.dark(false)
	br.size(390, 844)
	br.open(url + "#network")
	br.await("document.querySelectorAll('#map .node').length === 12")
	br.screenshot("network-phone")
	everyWordThere(t, br)
	br.scrollTo("#chart")
	br.screenshot("network-phone-map")
	br.scrollTo("#where")
	br.screenshot("network-phone-where")
	br.size(1280, 800)
	br.await("document.querySelectorAll('#nodes .chip').length > 5")
	br.scrollTo("#where")
	br.screenshot("network-where")
	everyWordThere(t, br)
	assert.Empty(t, br.complaints())
}

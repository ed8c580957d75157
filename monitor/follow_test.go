package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/hosttoken"
	"github.com/go-grasp/grasp/internal/netbed"
)

// A monitor asks those that it follows when somebody looks, and at no other time.
func TestFollow(t *testing.T) {
	w := newWatching(t)
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.m.ServeHTTP(rw, r)
	}))
	defer other.Close()
	m := New(Config{Caption: "network"})
	defer m.Close()
	stop, err := m.Follow("", other.URL)
	require.NoError(t, err)
	_, err = m.Follow("again", other.URL+"/")
	require.ErrorContains(t, err, "followed already")
	require.Zero(t, asked.Load())
	began := time.Now()
	var n Network
	netbed.Eventually(t, netbed.Patience, "it has answered", func() bool { // at once, unless the machine is busy
		n = m.Network(t.Context())
		return len(n.Nodes) == 2
	})
	require.Equal(t, "here", n.Nodes[0].Name)
	require.Equal(t, other.URL+"/", n.Nodes[0].URL)
	m.Network(t.Context())
	require.LessOrEqual(t, asked.Load(), 1+int32(time.Since(began)/followTime), "not more often than every two seconds")
	require.Len(t, getJSON[Network](t, m, "/network").Nodes, 2)
	stop()
	require.Empty(t, m.Network(t.Context()).Nodes)

	for _, bad := range []string{"", "http://", "ftp://host/", "http://[::1", "http://a b/"} {
		_, err := m.Follow("x", bad)
		require.ErrorContains(t, err, "monitor: follow", bad)
	}
	for i := range maxFollows {
		_, err := m.Follow("", fmt.Sprintf("http://127.0.0.1:%d", i+1))
		require.NoError(t, err)
	}
	_, err = m.Follow("", "http://127.0.0.2:1")
	require.ErrorContains(t, err, "the most")
	require.NoError(t, m.Close())
	_, err = m.Follow("", "http://127.0.0.2:1")
	require.ErrorContains(t, err, "closed")
}

// Whatever those that are followed answer, it is a fault of theirs.
func TestFollowBadAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"text":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }, "not the state of a monitor"},
		"empty": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, "not the state of a monitor"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, "it says 302"},
		"refusal": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "it wants its token"},
		"too much": {func(w http.ResponseWriter, _ *http.Request) {
			for range 9 {
				_, _ = w.Write(make([]byte, 1<<20))
			}
		}, "more than 8 MiB"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		}, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			other := httptest.NewServer(c.answer)
			defer other.Close()
			m := New(Config{})
			defer m.Close()
			_, err := m.Follow("other", other.URL)
			require.NoError(t, err)
			netbed.Eventually(t, time.Minute, c.want, func() bool { // a busy machine may take its time to answer
				n := m.Network(t.Context())
				return len(n.Faults) == 1 && n.Faults[0].Node == "other" && strings.Contains(n.Faults[0].Text, c.want)
			})
		})
	}
}

// A monitor that lies costs little: of what it says, no more is looked at than an honest
// one may say.
func TestFollowALiar(t *testing.T) {
	const many = 3000
	s := State{Time: time.Now(), Run: "liar"}
	for range many {
		s.Instances = append(s.Instances, InstanceState{Name: strings.Repeat("x", 2*pageValue)})
	}
	first := &s.Instances[0]
	for i := range 2 * maxStateLinks {
		addr := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
		first.Snapshot.Links = append(first.Snapshot.Links, acp.Link{Index: i + 1, Addr: addr})
		first.Snapshot.Neighbours = append(first.Snapshot.Neighbours, acp.Neighbour{Link: i + 1})
		first.Snapshot.Refusals = append(first.Snapshot.Refusals, acp.Refusal{Time: s.Time})
		first.Heard = append(first.Heard, Heard{Link: i + 1})
	}
	s.Instances[1].Snapshot.Links = slices.Clone(first.Snapshot.Links)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s) }))
	defer other.Close()
	got, err := (&follow{url: other.URL + "/"}).fetch(t.Context(), maxAnswer, new(sync.Mutex))
	require.NoError(t, err)
	require.Len(t, got.Instances, maxNodes)
	require.LessOrEqual(t, len(got.Instances[0].Name), pageValue+len("…"))
	require.Len(t, got.Instances[0].Heard, maxHeard)
	require.Len(t, got.Instances[0].Snapshot.Neighbours, maxNodeValues)
	require.Len(t, got.Instances[0].Snapshot.Refusals, maxRefused)
	require.Len(t, got.Instances[0].Snapshot.Links, maxStateLinks)
	require.Empty(t, got.Instances[1].Snapshot.Links)
}

// Those that are followed share what may be kept of them, and an answer beyond its share is
// a fault. What was kept of an earlier one goes.
func TestFollowShares(t *testing.T) {
	m := New(Config{})
	defer m.Close()
	require.Equal(t, maxAnswer, m.share())
	f := &follow{url: "http://liar/"}
	require.NoError(t, m.addFollow(f))
	long := State{Time: time.Now(), Run: "long", Instances: []InstanceState{{Name: "x", Snapshot: grasp.Snapshot{LinkTrouble: strings.Repeat("x", maxAnswers/maxFollows)}}}}
	require.NoError(t, f.keep(parseState(mustJSON(t, &long), m.share())))
	require.NotEmpty(t, f.state.Instances)
	for i := range maxFollows - 1 {
		require.NoError(t, m.addFollow(&follow{url: fmt.Sprint(i)}))
	}
	require.LessOrEqual(t, maxFollows*m.share(), maxAnswers)
	require.ErrorIs(t, f.keep(parseState(mustJSON(t, &long), m.share())), errTooMuch)
	require.Empty(t, f.state)
	require.Contains(t, f.trouble, "more than 256 KiB")

	// What is short may still be much to keep.
	short := `{"Time": "2026-01-02T03:04:05Z", "Instances": [{}` + strings.Repeat(",{}", maxNodes-1) + `]}`
	require.ErrorIs(t, f.keep(parseState([]byte(short), 64<<10)), errTooMuch)
	require.NoError(t, f.keep(parseState([]byte(short), maxAnswer)))
	require.ErrorContains(t, f.keep(State{}, errors.New("down")), "down")
	require.NotEmpty(t, f.state, "the last answer is still shown")
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// Whoever follows asks for what the network page shows, and that is all of it and no more.
func TestStateForNetwork(t *testing.T) {
	w := newWatching(t)
	w.flood(t, "EX1", strings.Repeat("v", 2*pageValue))
	var all State
	netbed.Eventually(t, netbed.Patience, "the flood has come to all", func() bool {
		all = getJSON[State](t, w.m, "/snapshot")
		return !slices.ContainsFunc(all.Instances, func(i InstanceState) bool { return len(i.Snapshot.Floods) == 0 })
	})
	part := getJSON[State](t, w.m, "/snapshot?for=network")
	require.Len(t, part.Instances, len(all.Instances))
	a, p := all.Instances[0].Snapshot, part.Instances[0].Snapshot
	require.NotEmpty(t, a.Sent)
	require.Empty(t, p.Sent)
	require.Len(t, p.Objectives, len(a.Objectives))
	require.Less(t, len(p.Floods[0].Value), len(a.Floods[0].Value))
	now := time.Now()
	part.Time = all.Time
	require.Equal(t, network("", now, []source{{state: all}}), network("", now, []source{{state: part}}))
}

// Who has the token reads, in each of the ways in which one can have it.
func TestToken(t *testing.T) {
	m := New(Config{Token: "secret"})
	status := func(path string, change ...func(*http.Request)) int { return get(m, path, change...).Code }
	header := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for _, path := range []string{"/", "/app.js", "/snapshot", "/metrics", "/events", "/network", "/messages", "/nothing", "/?token=other", "/snapshot?token=", "/snapshot?token=secre"} {
		assert.Equal(t, http.StatusUnauthorized, status(path), path)
	}
	assert.Equal(t, http.StatusOK, status("/snapshot", header("secret")))
	assert.Equal(t, http.StatusOK, status("/snapshot?token=secret"))
	assert.Equal(t, http.StatusOK, status("/snapshot", header(hosttoken.Derive("secret", "localhost:8990"))))
	assert.Equal(t, http.StatusUnauthorized, status("/snapshot", header(hosttoken.Derive("secret", "localhost:8991"))), "what another host was told")
	assert.Equal(t, http.StatusUnauthorized, status("/snapshot", header("")))
	assert.Equal(t, hosttoken.Derive("secret", "[fe80::1%2]:80"), hosttoken.Derive("secret", "[FE80::1]:80"))

	first := get(m, "/?token=secret")
	require.Equal(t, http.StatusSeeOther, first.Code)
	require.Equal(t, "./", first.Header().Get("Location"), "a URL without the token")
	cookies := first.Result().Cookies()
	require.Len(t, cookies, 1)
	require.True(t, cookies[0].HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, cookies[0].SameSite)
	assert.Equal(t, http.StatusOK, status("/app.js", func(r *http.Request) { r.AddCookie(cookies[0]) }))
	assert.Equal(t, http.StatusForbidden, status("/", header("secret"), func(r *http.Request) { r.Host = "evil.example" }))
}

// What a host was sent to be asked with does not let it read another one, whatever host
// its request says that it is for.
func TestDerivedTokenElsewhere(t *testing.T) {
	m := New(Config{Token: "secret", Hosts: []string{"router.example"}})
	status := func(host, at string) int {
		return get(m, "/snapshot", func(r *http.Request) {
			r.Host = host
			r.Header.Set("Authorization", "Bearer "+hosttoken.Derive("secret", host))
			*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(at))))
		}).Code
	}
	for host, at := range map[string]string{
		"[fd00::1]:8990": "[fd00::1]:8990", "[fe80::1]:8990": "[fe80::1%eth0]:8990", "10.0.0.1:8990": "[::ffff:10.0.0.1]:8990",
		"localhost:8990": "127.0.0.1:8990", "[fd00::1]": "[fd00::1]:80", "router.example": "127.0.0.1:8990",
	} {
		assert.Equal(t, http.StatusOK, status(host, at), host)
	}
	for host, at := range map[string]string{
		"[fd00::bad]:8990": "[fd00::1]:8990", "[fd00::1]:8991": "[fd00::1]:8990", "[fd00::1]": "[fd00::1]:8990",
		"localhost:8990": "[fd00::1]:8990", "localhost:1": "127.0.0.1:8990", "10.0.0.2:8990": "10.0.0.1:8990",
	} {
		assert.Equal(t, http.StatusUnauthorized, status(host, at), host)
	}
}

// Only addresses that the user allows are asked.
func TestHostOf(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("10.0.0.0/8")}
	for want, l := range map[string]grasp.Locator{
		"[fd00::1]:8990":     {IP: netip.MustParseAddr("fd00::1"), Port: 8990, Protocol: grasp.TCP},
		"[fe80::1%253]:8990": {IP: netip.MustParseAddr("fe80::1"), Port: 8990, IfIndex: 3},
		"[fe80::1%252]:8990": {IP: netip.MustParseAddr("fe80::1%2"), Port: 8990},
		"10.1.2.3:80":        {IP: netip.MustParseAddr("::ffff:10.1.2.3"), Port: 80},
	} {
		got, ok := hostOf(&l, allow)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	for _, l := range []grasp.Locator{
		{}, {FQDN: "fd00.example", Port: 80}, {URI: "http://[fd00::1]/"},
		{IP: netip.MustParseAddr("fd00::1")}, {IP: netip.MustParseAddr("fd00::1"), Port: 70000},
		{IP: netip.MustParseAddr("fd00::1"), Port: 80, Protocol: grasp.UDP},
		{IP: netip.MustParseAddr("127.0.0.1"), Port: 80}, {IP: netip.MustParseAddr("::1"), Port: 80},
		{IP: netip.MustParseAddr("2001:db8::1"), Port: 80}, {IP: netip.MustParseAddr("192.0.2.1"), Port: 80},
		{IP: netip.MustParseAddr("::"), Port: 80},
	} {
		_, ok := hostOf(&l, allow)
		assert.False(t, ok, "%v", l)
	}
	for _, nobody := range []string{"::", "ff02::1"} { // even if all are allowed
		_, ok := hostOf(&grasp.Locator{IP: netip.MustParseAddr(nobody), Port: 80}, []netip.Prefix{netip.MustParsePrefix("::/0")})
		assert.False(t, ok, nobody)
	}
	_, ok := hostOf(nil, allow)
	assert.False(t, ok)
}

// Beyond localhost there is a token, even if nobody chose one.
func TestListenBeyondLocalhost(t *testing.T) {
	if !netbed.Enter(t) {
		return
	}
	m := New(Config{})
	defer m.Close()
	url, err := m.Listen("[::]:0")
	require.NoError(t, err)
	page, token, found := strings.Cut(url, "?token=")
	require.True(t, found)
	require.Greater(t, len(token), 20)
	for _, c := range []struct {
		url  string
		want int
	}{{page + "snapshot", http.StatusUnauthorized}, {page + "snapshot?token=" + token, http.StatusOK}} {
		r, err := http.Get(c.url)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		require.Equal(t, c.want, r.StatusCode)
	}
}

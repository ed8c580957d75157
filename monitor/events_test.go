package monitor

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Words come as they are said, whatever they are, and none twice.
func TestEventsWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		dial := serve(t, w.m)
		w.a.Tprint("before")
		c, response := ask(t, dial(), "want=words")
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
		require.Equal(t, "test", nextOf[hello](t, c, "hello").Caption)
		first := nextOf[[]Words](t, c, "words")
		require.Equal(t, []Words{{N: 1, Time: first[0].Time, Instance: "here", ASA: "A", Text: "before"}}, first)

		hostile := "</script><img src=x onerror=alert(1)> \u202e & \u2028 \xff\x00\r\n\ndata: {}\n\nevent: closing"
		w.b.Tprint(hostile)
		w.b.Tprint(strings.Repeat("ж", keptBytes))
		all := nextOf[[]Words](t, c, "words")
		require.Len(t, all, 2)
		require.Equal(t, "there", all[0].Instance)
		require.Equal(t, "</script><img src=x onerror=alert(1)> \u202e & \u2028 \ufffd\ufffd\ufffd\ufffd\ufffddata: {}\ufffd\ufffdevent: closing", all[0].Text)
		require.Equal(t, strings.Repeat("ж", keptBytes/2)+"…", all[1].Text)
	})
}

// A client that comes again gets what it has not had; of another run it gets
// all.
func TestEventsResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		dial := serve(t, w.m)
		for i := range 3 {
			w.a.Tprint(i)
			w.flood(t, "EX1", i)
		}
		time.Sleep(time.Second)
		const query = "want=words&want=messages&kind=sent&type=M_FLOOD"
		c, _ := ask(t, dial(), query)
		require.Len(t, nextOf[[]Words](t, c, "words"), 3)
		require.Len(t, nextOf[[]Message](t, c, "messages"), 3)
		require.NoError(t, c.Close())

		w.a.Tprint("meanwhile")
		w.flood(t, "EX1", "meanwhile")
		synctest.Wait() // both are there, so the words come first
		again, _ := ask(t, dial(), query, "Last-Event-ID: "+c.id+"\r\n")
		words := nextOf[[]Words](t, again, "words")
		require.Len(t, words, 1)
		require.Equal(t, "meanwhile", words[0].Text)
		messages := nextOf[[]Message](t, again, "messages")
		require.Len(t, messages, 1)
		require.Contains(t, messages[0].Text, `"meanwhile"`)

		for _, id := range []string{"other.4.8", "x", w.m.run, w.m.run + ".1", w.m.run + ".a.b", w.m.run + ".-1.-1"} {
			all, _ := ask(t, dial(), query, "Last-Event-ID: "+id+"\r\n")
			require.Len(t, nextOf[[]Words](t, all, "words"), 4, id)
			require.Len(t, nextOf[[]Message](t, all, "messages"), 4, id)
			require.NoError(t, all.Close())
		}
	})
}

// The numbers of an id that are beyond what there is do no harm.
func TestEventsFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		dial := serve(t, w.m)
		c, _ := ask(t, dial(), "want=words&want=messages", "Last-Event-ID: "+w.m.run+".18446744073709551615.18446744073709551615\r\n")
		nextOf[hello](t, c, "hello")
		w.a.Tprint("hello")
		time.Sleep(time.Second)
		require.NoError(t, c.Close())
		time.Sleep(time.Second)
		require.Empty(t, w.m.pages)
	})
}

// A client that reads slowly is told how much it missed; nobody waits for it.
func TestEventsSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		c, _ := ask(t, serve(t, w.m)(), "want=words")
		nextOf[hello](t, c, "hello")
		const n = 20 * keptWords
		start := time.Now()
		for i := range n {
			w.a.Tprint(i)
			if i%100 == 0 {
				time.Sleep(time.Millisecond) // 200 ms in all, and it is stuck after 100
			}
		}
		require.Equal(t, 200*time.Millisecond, time.Since(start), "nobody waited")

		got, lost, last := uint64(0), uint64(0), uint64(0)
		for got+lost < n {
			e, ok := c.next()
			require.True(t, ok)
			switch e.name {
			case "words":
				for _, word := range decode[[]Words](t, e.data) {
					require.Greater(t, word.N, last)
					last = word.N
					got++
				}
			case "missed":
				lost += decode[missed](t, e.data).Words
			}
		}
		require.EqualValues(t, n, got+lost)
		require.EqualValues(t, n, last)
		require.NotZero(t, lost)
		require.Greater(t, got, uint64(keptWords))
	})
}

// A client that reads nothing is given up, one that goes is forgotten, and more
// than so many are not served.
func TestEventsVanishingClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		dial := serve(t, w.m)
		stuck, _ := ask(t, dial(), "want=state")
		require.Len(t, w.m.pages, 1)
		time.Sleep(writeTime + 2*time.Second)
		require.Empty(t, w.m.pages, "given up")
		require.NoError(t, stuck.Close())

		var all []*client
		for range maxPages {
			c, response := ask(t, dial(), "")
			require.Equal(t, http.StatusOK, response.StatusCode)
			nextOf[hello](t, c, "hello")
			all = append(all, c)
		}
		_, response := ask(t, dial(), "")
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		require.NotEmpty(t, response.Header.Get("Retry-After"))
		for _, c := range all {
			require.NoError(t, c.Close())
		}
		synctest.Wait()
		require.Empty(t, w.m.pages)
		c, response := ask(t, dial(), "")
		require.Equal(t, http.StatusOK, response.StatusCode)
		nextOf[hello](t, c, "hello")

		// It is quiet, but not silent: so a connection that is gone shows.
		start := time.Now()
		require.True(t, c.lines.Scan())
		require.Equal(t, ": still here", c.lines.Text())
		require.GreaterOrEqual(t, time.Since(start), quietTime)
	})
}

// A client that does not read the end of its answer, or does not send the body that it
// announced, is given up.
func TestStuckClients(t *testing.T) {
	for name, request := range map[string]string{
		"answer": "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"body":   "GET /snapshot HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
		"stream": "GET /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serve(t, New(Config{}))()
				defer conn.Close()
				_, err := conn.Write([]byte(request))
				require.NoError(t, err)
				time.Sleep(2*writeTime + time.Second)
				n, err := conn.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err)
				require.Zero(t, n)
			})
		})
	}
}

// More may come than can be read.
func TestReadAllEnds(t *testing.T) {
	n := 0
	out := readAll(func() ([]int, bool, uint64) { n++; return []int{n}, true, 0 }, 2)
	require.Equal(t, []int{n - 1, n}, out)
	require.GreaterOrEqual(t, n, keptMessages/chunk, "all that is kept")
}

// The state comes each second, and says when an instance was closed.
func TestEventsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		c, _ := ask(t, serve(t, w.m)(), "want=state")
		s := nextOf[pageState](t, c, "state")
		require.Len(t, s.Instances, 2)
		require.Equal(t, "here", s.Instances[0].Name)
		require.Equal(t, 1, s.Instances[0].Counts["ASAs"])
		require.False(t, s.Instances[0].Closed)
		next := nextOf[pageState](t, c, "state")
		require.WithinRange(t, next.Time, s.Time.Add(time.Second), s.Time.Add(time.Second+2*interval))

		require.NoError(t, w.here.Close())
		nextOf[pageState](t, c, "state")
		s = nextOf[pageState](t, c, "state")
		require.True(t, s.Instances[0].Closed)
		require.False(t, s.Instances[1].Closed)
		require.Equal(t, s.Instances[0].Snapshot.Port, w.here.Snapshot().Port)
	})
}

// Close ends the pages, however often and by however many it is called, and
// tells them.
func TestCloseEndsPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t)
		c, _ := ask(t, serve(t, w.m)(), "want=words")
		nextOf[hello](t, c, "hello")
		var closing sync.WaitGroup
		for range 3 {
			closing.Go(func() { require.NoError(t, w.m.Close()) })
		}
		e, ok := c.next()
		require.True(t, ok)
		require.Equal(t, "closing", e.name)
		_, ok = c.next()
		require.False(t, ok)
		closing.Wait()
		w.a.Tprint("nobody hears this")
		require.Zero(t, w.m.words.last)
		w.m.Watch("late", w.here)()
		require.Empty(t, w.m.State().Instances)
		_, err := w.m.Listen("127.0.0.1:0")
		require.ErrorContains(t, err, "closed")
	})
}

// Whatever happens at the same time happens in good order.
func TestAllAtOnce(t *testing.T) {
	w := newWatching(t)
	url, err := w.m.Listen("")
	require.NoError(t, err)
	stop := make(chan struct{})
	var all, clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			r, err := http.Get(url + "events?want=words&want=messages&want=state")
			if err != nil {
				return
			}
			defer r.Body.Close()
			buf := make([]byte, 1000)
			for range 4 * (i + 1) {
				if _, err := r.Body.Read(buf); err != nil {
					return
				}
			}
		})
		all.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				w.a.Tprint(i, k)
				leave := w.m.Watch("more", w.there)
				w.m.metrics()
				get(w.m, "/messages?peer=fe80")
				w.here.Snapshot()
				leave()
			}
		})
		all.Go(func() {
			for k := range 50 {
				_ = w.stranger.Send(w.link, fmt.Append(nil, "junk", i, k))
			}
		})
	}
	clients.Wait()
	close(stop)
	all.Wait()
	require.NoError(t, w.here.Close())
	require.NoError(t, w.m.Close())
	require.Empty(t, w.m.pages)
}

func decode[T any](t testing.TB, data string) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(data), &v))
	return v
}

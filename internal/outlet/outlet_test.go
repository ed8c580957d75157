package outlet

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Items come in order, whoever puts them, and none twice.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		o := New(func(i int) { got = append(got, i) }, func() { t.Error("lost") })
		var mu sync.Mutex
		next := 0
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 100 {
					mu.Lock()
					o.Put(next, 1)
					next++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		o.Flush(nil)
		require.Len(t, got, 1000)
		for i, n := range got {
			require.Equal(t, i, n)
		}
		o.Flush(nil) // nothing is left: it returns
	})
}

// A stuck receiver holds up nobody, and no more waits for it than may.
func TestStuck(t *testing.T) {
	for _, c := range []struct{ size, fit int }{{1, MaxItems}, {MaxBytes / 4, 4}, {2 * MaxBytes, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var lost, got int
			stuck := make(chan struct{})
			o := New(func(int) { <-stuck; got++ }, func() { lost++ })
			o.Put(0, c.size)
			synctest.Wait() // it is on its way
			for range c.fit + 5 {
				o.Put(0, c.size)
			}
			require.Equal(t, 5, lost)
			until := make(chan struct{})
			time.AfterFunc(time.Second, func() { close(until) })
			start := time.Now()
			o.Flush(until)
			require.Equal(t, time.Second, time.Since(start))
			close(stuck)
			o.Flush(nil)
			require.Equal(t, c.fit+1, got)
			o.Put(0, c.size)
			o.Flush(nil)
			require.Equal(t, c.fit+2, got, "there is room again")
			require.Equal(t, 5, lost)
		})
	}
}

// After Close nothing more is received, whatever the receiver was about.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost, got int
		stuck := make(chan struct{})
		o := New(func(int) { <-stuck; got++ }, func() { lost++ })
		o.Put(0, 1)
		synctest.Wait()
		o.Put(0, 1)
		o.Close()
		require.Equal(t, 1, lost)
		o.Put(0, 1)
		require.Equal(t, 2, lost)
		close(stuck)
		o.Flush(nil)
		require.Equal(t, 1, got)
		o.Close()
	})
}

func TestHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := NewHandler(slog.NewTextHandler(&out, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}), func() { t.Error("lost") })
		log := slog.New(h)
		log.Debug("not enabled")
		log.With("a", 1).WithGroup("b").Warn("something", "c", 2)
		h.Flush(nil)
		require.Equal(t, "level=WARN msg=something a=1 b.c=2\n", out.String())
		h.Close()
	})
}

func BenchmarkPut(b *testing.B) {
	o := New(func(int) {}, func() {})
	b.ReportAllocs()
	for b.Loop() {
		o.Put(1, 1)
	}
}

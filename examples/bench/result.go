package main

import (
	"bufio"
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-grasp/grasp"
)

// result is the line that is printed.
type result struct {
	What       string  `json:"what"`
	N          int     `json:"n"`
	OK         int     `json:"ok"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	RSS        float64 `json:"rss_mib"` // 0 where the system does not tell
	Goroutines int     `json:"goroutines"`
	PeerRSS    float64 `json:"peer_rss_mib,omitempty"`
	Floor      float64 `json:"floor_per_second,omitempty"`
	FloorN     int     `json:"floor_n,omitempty"`
	FloorOK    int     `json:"floor_ok,omitempty"`
	FloorBy    string  `json:"floor_by,omitempty"` // what made the floor's exchanges
	FloorP50   float64 `json:"floor_p50_ms,omitempty"`
	Ratio      float64 `json:"ratio,omitempty"`

	Dropped map[grasp.Reason]uint64 `json:"dropped,omitempty"` // by a relay
}

// series collects how long operations took.
type series struct {
	ok, failed int
	first      error // that made one fail
	took       []time.Duration
	wall       time.Duration
}

func (s *series) perSecond() float64 { return float64(s.ok) / s.wall.Seconds() }

// measure does f n times, so many at a time, and adds what it took.
func (s *series) measure(ctx context.Context, n, times int, f func(context.Context) error) {
	var (
		left atomic.Int64
		all  sync.WaitGroup
		mu   sync.Mutex
	)
	left.Store(int64(n))
	start := time.Now()
	for range times {
		all.Go(func() {
			var took []time.Duration
			var errs []error
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				start := time.Now()
				if err := f(ctx); err != nil {
					errs = append(errs, err)
					continue
				}
				took = append(took, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			s.took = append(s.took, took...)
			s.ok += len(took)
			s.failed += len(errs)
			if s.first == nil && len(errs) > 0 {
				s.first = errs[0]
			}
		})
	}
	all.Wait()
	s.wall += time.Since(start)
}

// result returns the line for a series.
func (s *series) result(what string) *result {
	slices.Sort(s.took)
	at := func(share float64) float64 {
		if len(s.took) == 0 {
			return 0
		}
		return milliseconds(s.took[int(share*float64(len(s.took)-1))])
	}
	r := newResult(what)
	r.N, r.OK = s.ok+s.failed, s.ok
	r.Seconds, r.PerSecond = s.wall.Seconds(), s.perSecond()
	r.P50, r.P99 = at(0.50), at(0.99)
	return r
}

// newResult returns a line with the state of this process.
func newResult(what string) *result {
	return &result{What: what, RSS: resident(), Goroutines: runtime.NumGoroutine()}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// resident returns how many MiB of memory the process has, 0 if the system
// does not tell in the way of Linux.
func resident() float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kb, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 64)
			return n / 1024
		}
	}
	return 0
}

// A comparison is cut into turns of one side and the other, so that what else
// the machine does meets both alike: as many as there can be with this many
// operations for each goroutine in a turn.
const (
	mostTurns = 200
	perTurn   = 16
)

// timing does something n times, so many at a time, and returns how long that took.
type timing func(ctx context.Context, n, times int) (time.Duration, error)

// timed returns the timing of a function.
func timed(f func(context.Context) error) timing {
	return func(ctx context.Context, n, times int) (time.Duration, error) {
		var s series
		s.measure(ctx, n, times, f)
		return s.wall, s.first
	}
}

// operation does something n times, so many at a time, and adds what it took to a series.
type operation func(ctx context.Context, s *series, n, times int)

// each returns the operation of doing f.
func each(f func(context.Context) error) operation {
	return func(ctx context.Context, s *series, n, times int) { s.measure(ctx, n, times, f) }
}

// beside measures an operation and, if there is a floor, both in turns. The ratio is the
// median of the turns'.
func beside(ctx context.Context, j job, ours operation, floor timing) (*result, error) {
	turns := min(max(j.number/max(perTurn*j.times, 100), 1), mostTurns)
	return inTurns(ctx, j, ours, floor, turns, 0)
}

// inTurns is beside in so many turns, with a pause after each side's.
func inTurns(ctx context.Context, j job, ours operation, floor timing, turns int, pause time.Duration) (*result, error) {
	if floor == nil {
		var s series
		ours(ctx, &s, j.number, j.times)
		return s.result(j.verb), s.first
	}
	var all series
	var bare time.Duration
	var ratios []float64
	for done, turn := 0, 1; turn <= turns; turn++ {
		n := j.number*turn/turns - done
		done += n
		took, err := floor(ctx, n, j.times)
		if err != nil {
			return nil, err
		}
		time.Sleep(pause)
		start := all.wall
		ours(ctx, &all, n, j.times)
		time.Sleep(pause)
		bare += took
		ratios = append(ratios, took.Seconds()/(all.wall-start).Seconds())
	}
	slices.Sort(ratios)
	r := all.result(j.verb)
	r.Floor = float64(j.number) / bare.Seconds()
	r.Ratio = ratios[len(ratios)/2]
	return r, all.first
}

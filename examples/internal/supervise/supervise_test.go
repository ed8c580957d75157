package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stage has programs that are goroutines: each runs for a time, then fails.
type stage struct {
	err   error
	start time.Time

	mu    sync.Mutex    // guards all following fields
	lives time.Duration // 0: until it is stopped
	log   []string
}

func (s *stage) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf("%v ", time.Since(s.start))+fmt.Sprintf(format, args...))
}

func (s *stage) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func (s *stage) run(ctx context.Context, spec Spec, report func(Event)) error {
	report(Event{Program: spec.Name, What: Started})
	var ends <-chan time.Time
	s.mu.Lock()
	lives := s.lives
	s.mu.Unlock()
	if lives > 0 {
		ends = time.After(lives)
	}
	select {
	case <-ctx.Done():
		time.Sleep(spec.Grace) // the program takes its time
		return ctx.Err()
	case <-ends:
		return s.err
	}
}

func (s *stage) report(e Event) {
	if e.What == Ended {
		s.add("%s %s %v, pause %v", e.What, e.Program, e.Err, e.Pause)
		return
	}
	s.add("%s %s", e.What, e.Program)
}

func newStage() (*stage, *Group) {
	s := &stage{start: time.Now()}
	return s, newGroup(s.report, s.run)
}

// A program that fails again and again starts with growing pauses, and with the
// first one again when it ran for long.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := newStage()
		s.lives, s.err = time.Millisecond, errors.New("no luck")
		g.Set([]Spec{{Name: "a", Restart: Always}})
		pause := FirstPause
		for range 8 {
			synctest.Wait()
			time.Sleep(time.Millisecond)
			synctest.Wait()
			log := s.take()
			require.Len(t, log, 2)
			assert.Contains(t, log[1], fmt.Sprintf("program ended a no luck, pause %v", pause))
			running, of := g.Running()
			assert.Equal(t, []int{0, 1}, []int{running, of})
			time.Sleep(pause)
			pause = min(2*pause, MaxPause)
		}
		s.mu.Lock()
		s.lives = MaxPause
		s.mu.Unlock()
		time.Sleep(2 * MaxPause)
		s.take()
		time.Sleep(MaxPause + 10*time.Second)
		assert.Contains(t, fmt.Sprint(s.take()), fmt.Sprintf("pause %v", FirstPause))
		g.Stop()
	})
}

// Which ends are followed by another start.
func TestRestart(t *testing.T) {
	for _, x := range []struct {
		restart Restart
		err     error
		again   bool
	}{
		{Always, nil, true}, {Always, errors.ErrUnsupported, true}, {OnFailure, nil, false},
		{OnFailure, errors.ErrUnsupported, true}, {Never, nil, false}, {Never, errors.ErrUnsupported, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, g := newStage()
			s.lives, s.err = time.Second, x.err
			g.Set([]Spec{{Name: "a", Restart: x.restart}})
			time.Sleep(2 * time.Minute)
			assert.Equal(t, x.again, len(s.take()) > 2, "%+v", x)
			g.Stop()
		})
	}
}

// Programs start in their order and stop in the reverse one, each when the one
// before has ended. Only what has changed is stopped.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := newStage()
		spec := func(name string) Spec { return Spec{Name: name, Grace: time.Second, Restart: Always} }
		g.Set([]Spec{spec("a"), spec("b"), spec("c")})
		synctest.Wait()
		assert.ElementsMatch(t, []string{"0s program started a", "0s program started b", "0s program started c"}, s.take())
		running, of := g.Running()
		assert.Equal(t, []int{3, 3}, []int{running, of})

		changed := spec("b")
		changed.Dir = "/"
		g.Set([]Spec{changed, spec("a"), spec("d")})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		log := s.take()
		assert.Equal(t, []string{"1s program stopped c", "2s program stopped b"}, log[:2])
		assert.ElementsMatch(t, []string{"2s program started b", "2s program started d"}, log[2:])

		g.Stop()
		assert.Equal(t, []string{"3s program stopped d", "4s program stopped a", "5s program stopped b"}, s.take())
		g.Stop()
		g.Set([]Spec{spec("late")})
		g.Set([]Spec{spec("later")})
		assert.Empty(t, s.take())
	})
}

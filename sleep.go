package grasp

import (
	"time"

	"github.com/go-grasp/grasp/internal/asleep"
)

// aging guards a cache, and has what died while the machine slept be dead.
type aging[T interface{ Age(time.Duration) }] struct {
	guarded[T]
	meter asleep.Meter // guarded, too; first asked when the cache is first used
}

// do does something with the cache as it is now.
func (a *aging[T]) do(f func(T)) {
	a.guarded.do(func(cache T) {
		if slept := a.meter.Since(); slept > 0 {
			cache.Age(slept)
		}
		f(cache)
	})
}

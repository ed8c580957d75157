package grasp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/wire"
)

// What died while the machine slept is not used (N13); what lives has less time
// left.
func TestTimeAsleepCounts(t *testing.T) {
	limits := cache.Limits{All: 10, PerObjective: 10, PerSource: 10}
	floods, locators := newFloodCache(limits), newLocatorCache(limits, false)
	total := time.Hour
	asleep := func() time.Duration { return total }
	floods.meter.Total, locators.meter.Total = asleep, asleep
	at := func(host int) wire.Locator {
		return wire.Locator{Kind: wire.LocatorIPv4, Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(host)}), Protocol: TCP, Port: 4000}
	}
	now := time.Now()
	for i, life := range []time.Duration{time.Minute, time.Hour, 0} {
		f := cache.Flood{
			Objective: wire.Objective{Name: "o", Flags: wire.FlagSynch, LoopCount: 1, Value: null},
			Place:     cache.PlaceOf(at(i), 1), Link: 1, Expire: now.Add(life),
		}
		if life == 0 {
			f.Expire = time.Time{} // never
		} else {
			locators.put("o", []cache.Locator{{Wire: at(i), Link: 1, Expire: now.Add(life)}})
		}
		floods.put([]cache.Flood{f}, time.Now())
	}
	assert.Len(t, floods.get("o"), 3)
	assert.Len(t, locators.get("o"), 2)

	total += 2 * time.Minute
	left := floods.get("o")
	assert.Len(t, left, 2)
	assert.Equal(t, now.Add(58*time.Minute), left[0].Expire)
	assert.Zero(t, left[1].Expire)
	found := locators.get("o")
	assert.Len(t, found, 1)
	assert.Equal(t, now.Add(58*time.Minute), found[0].Expire)

	total += 58 * time.Minute
	assert.Len(t, floods.get("o"), 1)
	assert.Empty(t, locators.get("o"))
}

package conform

import "time"

// InSeconds returns the configuration with slow checks that take seconds of
// this length.
func (c Config) InSeconds(d time.Duration) Config {
	c.second = d
	return c
}

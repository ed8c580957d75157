//go:build !unix

package scale

import "time"

// usedCPU returns 0: it is not known here.
func usedCPU() time.Duration { return 0 }

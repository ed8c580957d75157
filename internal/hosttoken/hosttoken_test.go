package hosttoken

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Each host, port and token gives something else, and zones and capital letters nothing.
func TestDerive(t *testing.T) {
	seen := make(map[string]string)
	for _, x := range [][2]string{{"secret", "[fe80::1]:80"}, {"secret", "[fe80::2]:80"}, {"secret", "[fe80::1]:81"}, {"other", "[fe80::1]:80"}, {"", "localhost"}} {
		derived := Derive(x[0], x[1])
		assert.NotContains(t, derived, "secret")
		assert.Len(t, derived, 43)
		assert.NotContains(t, seen, derived, x)
		seen[derived] = x[1]
	}
	assert.Equal(t, Derive("secret", "[fe80::1%eth0]:80"), Derive("secret", "[FE80::1]:80"))
}

package share

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHolderOf(t *testing.T) {
	of := func(addr string, onLink bool) Holder { return HolderOf("", netip.MustParseAddr(addr), onLink) }
	assert.Equal(t, of("2001:db8::1", false), of("2001:db8::2", false), "a host beyond a router can have both")
	assert.NotEqual(t, of("2001:db8::1", false), of("2001:db8:0:1::1", false))
	for _, onLink := range []bool{false, true} {
		assert.NotEqual(t, of("192.0.2.1", onLink), of("192.0.2.2", onLink))
		assert.NotEqual(t, of("fe80::1%3", onLink), of("fe80::2%3", onLink))
		assert.NotEqual(t, of("fe80::1%3", onLink), of("fe80::1%4", onLink), "another link has other hosts")
		assert.NotEqual(t, of("::1", onLink), of("::2", onLink))
	}
	assert.NotEqual(t, of("2001:db8::1", true), of("2001:db8::2", true), "neighbours")

	a, b := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	assert.Equal(t, HolderOf("member", a, true), HolderOf("member", b, true), "wherever it is")
	assert.NotEqual(t, HolderOf("member", a, true), HolderOf("other", a, true))
	assert.NotEqual(t, HolderOf("member", a, true), HolderOf("", a, true))
}

package prefix

import (
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/prefixpool"
)

var (
	bytes6 = []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	bytes4 = []byte{192, 0, 2, 0}
)

// The forms of RFC 8992 section 5, and that of the prototype.
func TestValue(t *testing.T) {
	p6, p4 := pfx("2001:db8:0:1200::/60"), pfx("192.0.2.0/24")
	for _, c := range []struct {
		items []any
		want  value
		text  string
	}{
		{[]any{56}, value{family: 6, length: 56, noFamily: true}, "IPv6 /56"},
		{[]any{60, bytes6}, value{family: 6, length: 60, prefix: p6, noFamily: true}, "2001:db8:0:1200::/60"},
		{[]any{6, 56}, value{family: 6, length: 56}, "IPv6 /56"},
		{[]any{6, 60, bytes6}, value{family: 6, length: 60, prefix: p6}, "2001:db8:0:1200::/60"},
		{[]any{4, 24}, value{family: 4, length: 24}, "IPv4 /24"},
		{[]any{4, 24, bytes4}, value{family: 4, length: 24, prefix: p4}, "192.0.2.0/24"},
	} {
		for _, tag24 := range []bool{false, true} {
			c.want.tag24 = tag24
			var o grasp.Objective
			require.NoError(t, c.want.put(&o))
			if !tag24 {
				assert.Equal(t, c.items, o.Value)
			}
			got, err := parseValue(o)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.text, got.String())
		}
	}
	v, err := parseValue(grasp.Objective{Value: []any{6, 56, nil}})
	require.NoError(t, err)
	assert.Equal(t, value{family: 6, length: 56}, v)

	// An answer has the form of the request.
	asked := value{family: 6, length: 56, noFamily: true, tag24: true}
	var o grasp.Objective
	require.NoError(t, asked.of(p6).put(&o))
	raw, err := grasp.Encode([]any{60, bytes6})
	require.NoError(t, err)
	assert.Equal(t, raw, o.Value)
}

// nonsense is what a peer can send instead.
var nonsense = map[string]any{
	"null":           nil,
	"number":         56,
	"text":           "/56",
	"empty":          []any{},
	"nothing in it":  []any{nil},
	"float":          []any{6, 56.0},
	"text length":    []any{6, "56"},
	"IPv5":           []any{5, 56},
	"text prefix":    []any{6, 56, "2001:db8::"},
	"short prefix":   []any{6, 56, bytes6[:8]},
	"other family":   []any{6, 56, bytes4},
	"bits set":       []any{6, 48, bytes6},
	"four items":     []any{6, 60, bytes6, nil},
	"mapped":         []any{6, 96, []byte{10: 0xff, 11: 0xff, 15: 0}},
	"multicast":      []any{6, 64, []byte{0: 0xff, 1: 2, 15: 0}},
	"link-local":     []any{6, 64, []byte{0: 0xfe, 1: 0x80, 15: 0}},
	"nested":         []any{[]any{6, 56}},
	"map":            map[string]any{"length": 56},
	"duplicate keys": cbor.RawMessage{0xa2, 1, 1, 1, 1},
	"tag 24 of null": grasp.EncodedCBOR{0xf6},
	"truncated":      grasp.EncodedCBOR{0x82, 6},
	"network tag":    cbor.Tag{Number: 54, Content: []any{56, bytes6[:8]}},
}

func TestNonsense(t *testing.T) {
	for name, v := range nonsense {
		_, err := parseValue(grasp.Objective{Value: v})
		assert.Error(t, err, name)
		assert.NotErrorIs(t, err, errLength, name)
	}
	for _, v := range [][]any{{6, 31}, {6, 97}, {4, 15}, {4, 33}, {6, -1}, {31}, {6, nil}, {uint64(1) << 62}} {
		_, err := parseValue(grasp.Objective{Value: v})
		assert.ErrorIs(t, err, errLength, v)
	}
}

func FuzzValue(f *testing.F) {
	for _, v := range nonsense {
		if raw, err := grasp.Encode(v); err == nil {
			f.Add([]byte(raw))
		}
	}
	raw, err := grasp.Encode([]any{6, 60, bytes6})
	require.NoError(f, err)
	f.Add([]byte(raw))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := parseValue(grasp.Objective{Value: grasp.EncodedCBOR(raw)})
		if err != nil {
			return
		}
		if v.prefix.IsValid() {
			require.True(t, prefixpool.Valid(v.prefix))
			require.Equal(t, v, v.of(v.prefix))
		}
		var o grasp.Objective
		require.NoError(t, v.put(&o))
		again, err := parseValue(o)
		require.NoError(t, err)
		require.Equal(t, v, again)
	})
}

func TestParams(t *testing.T) {
	ps := DefaultParams()
	got, err := parseParams(grasp.Objective{Value: ps.value()})
	require.NoError(t, err)
	assert.Equal(t, ps, got)
	assert.Equal(t, 44, got.Length("ASG"))
	assert.Zero(t, got.Length("?"))

	var again Params
	require.NoError(t, again.Set(ps.String()))
	assert.Equal(t, ps, again)
	for _, wrong := range []string{"", "RSG", "RSG=", "=34", "RSG=31", "RSG=97", "RSG=34,"} {
		assert.Error(t, again.Set(wrong), wrong)
	}
	assert.Equal(t, ps, again)

	// Of roles that it does not understand it keeps nothing.
	got, err = parseParams(grasp.Objective{Value: []any{
		[]any{[]any{"role", "A"}, []any{"prefix_length", 40}, []any{"colour", "red"}},
		[]any{[]any{"role", "B"}}, []any{[]any{"role", 1}, []any{"prefix_length", 40}}, []any{},
	}})
	require.NoError(t, err)
	assert.Equal(t, Params{{"A", 40}}, got)
	for _, v := range []any{nil, "A", map[string]any{"A": 1}, []any{"A"}, []any{[]any{[]any{"role"}}}, make([]any, 101)} {
		_, err := parseParams(grasp.Objective{Value: v})
		if v != nil {
			assert.Error(t, err, v)
		}
	}
}

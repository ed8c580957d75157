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
	// RFC 8992 section 5.1: the length is a number from 0 to 128, or to 32.
	for _, text := range []string{"::/0", "8000::/1", "2000::/31", "2001:db8::/32", "2001:db8::/97", "2001:db8::/112", "2001:db8::2/127",
		"2001:db8::1/128", "0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/8", "192.0.2.254/31", "192.0.2.1/32"} {
		for _, tag24 := range []bool{false, true} {
			v := value{tag24: tag24}.of(pfx(text))
			var o grasp.Objective
			require.NoError(t, v.put(&o))
			got, err := parseValue(o)
			require.NoError(t, err, text)
			assert.Equal(t, v, got)
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

// The form of RFC 9164, whose examples these are, and that of the prototype's pfxm4, which
// has a zero address for none and leaves no bytes of the length out.
func TestTaggedValue(t *testing.T) {
	tag := func(number uint64, length int, raw ...byte) cbor.Tag {
		return cbor.Tag{Number: number, Content: []any{length, append([]byte{}, raw...)}}
	}
	of := func(v value, padded bool) value {
		v.tagged, v.padded = true, padded
		return v
	}
	none := value{family: 6, length: 59}
	for _, c := range []struct {
		tag  cbor.Tag
		want value
	}{
		{tag(54, 44, 0x20, 1, 0xd, 0xb8, 0x12, 0x30), of(value{}.of(pfx("2001:db8:1230::/44")), false)},
		{tag(54, 64, 0x20, 1, 0xd, 0xb8), of(value{}.of(pfx("2001:db8::/64")), false)},
		{tag(54, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0), of(value{}.of(pfx("2001:db8::/64")), true)},
		{tag(54, 128, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), of(value{}.of(pfx("2001:db8::1/128")), false)},
		{tag(52, 24, 192, 0, 2), of(value{}.of(pfx("192.0.2.0/24")), false)},
		{tag(52, 25, 192, 0, 2, 0), of(value{}.of(pfx("192.0.2.0/25")), true)},
		{tag(54, 59), of(none, false)},
		{tag(54, 59, make([]byte, 8)...), of(none, true)},
		{tag(54, 0), of(value{family: 6}, false)},
		{tag(52, 20, 0, 0, 0), of(value{family: 4, length: 20}, true)},
	} {
		o := negotiated(taggedObjective)
		require.NoError(t, c.want.put(&o))
		assert.Equal(t, c.tag, o.Value)
		got, err := parseValue(o)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
		encoded := c.want
		encoded.tag24 = true
		require.NoError(t, encoded.put(&o))
		got, err = parseValue(o)
		require.NoError(t, err)
		assert.Equal(t, encoded, got)
	}
	for name, v := range map[string]any{
		"no tag":              []any{6, 56},
		"null":                nil,
		"another tag":         tag(260, 64, bytes6...),
		"an address":          cbor.Tag{Number: 54, Content: bytes6},
		"an interface":        cbor.Tag{Number: 54, Content: []any{bytes6, 64}},
		"a zone":              cbor.Tag{Number: 54, Content: []any{64, bytes6, 42}},
		"a text":              cbor.Tag{Number: 54, Content: []any{64, "2001:db8::"}},
		"too many bytes":      tag(52, 24, bytes6...),
		"bits set":            tag(54, 44, 0x20, 1, 0xd, 0xb8, 0x12, 0x34),
		"bytes beyond":        tag(54, 32, 0x20, 1, 0xd, 0xb8, 1),
		"multicast":           tag(54, 64, 0xff, 2),
		"the form of lengths": cbor.Tag{Number: 54, Content: []any{64}},
	} {
		o := negotiated(taggedObjective)
		o.Value = v
		_, err := parseValue(o)
		assert.Error(t, err, name)
		assert.NotErrorIs(t, err, errLength, name)
	}
	for _, c := range []cbor.Tag{tag(54, 129), tag(54, -1), tag(52, 33)} {
		o := negotiated(taggedObjective)
		o.Value = c
		_, err := parseValue(o)
		assert.ErrorIs(t, err, errLength)
	}
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
	for _, v := range [][]any{{6, 129}, {4, 33}, {6, -1}, {4, -1}, {129}, {uint64(1) << 62}} {
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
		fuzzValue(t, objective, raw)
		fuzzValue(t, taggedObjective, raw)
	})
}

func fuzzValue(t *testing.T, name string, raw []byte) {
	v, err := parseValue(grasp.Objective{Name: name, Value: grasp.EncodedCBOR(raw)})
	if err != nil {
		return
	}
	if v.prefix.IsValid() {
		require.True(t, prefixpool.Valid(v.prefix))
		require.Equal(t, v, v.of(v.prefix))
	}
	o := negotiated(name)
	require.NoError(t, v.put(&o))
	again, err := parseValue(o)
	require.NoError(t, err)
	v.padded = v.padded && again.padded // if it came with bytes beyond the length
	require.Equal(t, v, again)
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
	for _, wrong := range []string{"", "RSG", "RSG=", "=34", "RSG=0", "RSG=-1", "RSG=129", "RSG=34,"} {
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

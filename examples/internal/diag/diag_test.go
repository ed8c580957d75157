package diag

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/wire"
)

// The encodings are those of RFC 8949 appendix A, where it has them.
var values = map[string]string{
	"0": "00", "23": "17", "24": "1818", "1000000": "1a000f4240",
	"18446744073709551615": "1bffffffffffffffff", "18446744073709551616": "c249010000000000000000",
	"-1": "20", "-18446744073709551616": "3bffffffffffffffff", "-18446744073709551617": "c349010000000000000000",
	"0x1f": "181f", "0b11": "03", "0o17": "0f",
	"0.0": "f90000", "-0.0": "f98000", "1.5": "f93e00", "100000.0": "fa47c35000", "1.1": "fb3ff199999999999a",
	"1e300": "fb7e37e43c8800759c", "Infinity": "f97c00", "-Infinity": "f9fc00", "NaN": "f97e00",
	"false": "f4", "true": "f5", "null": "f6", "undefined": "f7", "simple(16)": "f0", "simple(255)": "f8ff",
	`0("2013-03-21T20:04:00Z")`: "c074323031332d30332d32315432303a30343a30305a", "1(1.5)": "c1f93e00",
	"h'01020304'": "4401020304", "h'01 02\t0304'": "4401020304", "b64'AQIDBA=='": "4401020304", "b64'_-8'": "42ffef",
	`'it\'s'`: "4469742773", "h''": "40", `""`: "60", `"IETF"`: "6449455446", `"\"\\"`: "62225c", `"\u00fc"`: "62c3bc", `"水"`: "63e6b0b4",
	"[]": "80", "[1, 2, 3]": "83010203", "[1,[2,3],[4,5]]": "8301820203820405", " [ 1 , 2 ] ": "820102",
	"{}": "a0", "{1: 2, 3: 4}": "a201020304", `{"a": 1, "b": [2, 3]}`: "a26161016162820203",
	"[_ 1, [_ ]]": "9f019fffff", "[_ ]": "9fff", `{_ "a": 1}`: "bf616101ff", `(_ h'01', h'02')`: "5f41014102ff", `(_ "a")`: "7f6161ff",
	"24(<<[1]>>)": "d818428101", "<<>>": "40", "<<1, 2>>": "420102",
	`["NZD", 100]`: "82634e5a441864",
}

func TestValue(t *testing.T) {
	for text, want := range values {
		raw, err := Value(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, hex.EncodeToString(raw), text)
		raw, err = Value("hex:" + want)
		require.NoError(t, err, want)
		again, err := Value(Format(raw))
		require.NoError(t, err, Format(raw))
		assert.Equal(t, raw, again, "the notation of the other library is understood")
	}
}

func TestValueRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "a value is missing",
		"hello":                 "text needs double quotes",
		"[1 2]":                 "is missing",
		"[1,]":                  "no value",
		"[1":                    "is missing",
		"{1}":                   `":" is missing`,
		"{1:2":                  "is missing",
		`"a`:                    "no end",
		`"\x"`:                  "invalid character",
		"h'0'":                  "odd length",
		"b64'*'":                "illegal base64",
		"h":                     "no value",
		"1 2":                   "something follows",
		"1_1":                   "no value",
		"1e999":                 "no number",
		"1x":                    "no number",
		"-":                     "no value",
		"+1":                    "no value",
		"simple(24)":            "simple()",
		"simple(x)":             "simple()",
		"x(1)":                  "no number of a tag",
		"1(2":                   `")" is missing`,
		"(_ )":                  "a string is missing",
		`(_ "a" 1)`:             "is missing",
		`(_ "a", h'01')`:        "both text and bytes",
		"<<1":                   "is missing",
		"hex:":                  "cut short",
		"hex:8":                 "odd length",
		"hex:8201":              "2 items in 2 bytes",
		"hex:0101":              "1 bytes after the item",
		"hex:zz":                "invalid byte",
		strings.Repeat("[", 50): "nested deeper than 32 levels",
	} {
		_, err := Value(text)
		assert.ErrorContains(t, err, want, text)
	}
}

func TestFormat(t *testing.T) {
	assert.Equal(t, "h'ff'", Format([]byte{0xff}))
	assert.JSONEq(t, `["NZD", 100]`, string(JSON([]byte{0x82, 0x63, 'N', 'Z', 'D', 0x18, 100})))
	for _, odd := range []string{"41ff", "f7", "a10102", "f97e00", "ff"} {
		raw, err := hex.DecodeString(odd)
		require.NoError(t, err)
		assert.Equal(t, "null", string(JSON(raw)), odd)
	}
}

// Whatever is parsed is one item, and is what its own notation stands for.
func FuzzParse(f *testing.F) {
	for text := range values {
		f.Add(text)
	}
	f.Add("2(0)")
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := Parse(text)
		if err != nil {
			return
		}
		require.NoError(t, wire.WellFormed(raw, wire.Limits{Bytes: len(raw), Elements: 2*len(raw) + 1, Depth: 100}))
		again, err := Parse(Format(raw))
		require.NoError(t, err, "%x is %s", raw, Format(raw))
		var a, b any
		if json.Unmarshal([]byte(text), &a) == nil && json.Unmarshal([]byte(Format(raw)), &b) == nil {
			require.Equal(t, a, b)
		}
		// What is well-formed but means nothing, such as 2(0), comes as bytes.
		if _, err := cbor.Diagnose(raw); err == nil && !bytes.Contains([]byte(Format(raw)), []byte("_")) {
			require.Equal(t, raw, again)
		}
	})
}

package diag

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/internal/wire"
)

// The major types of CBOR, RFC 8949 section 3.1.
const (
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7
)

const (
	openInfo  = 31 // of indefinite length
	breakByte = 0xff
)

// encoding writes the preferred encoding of RFC 8949 section 4.1.
var encoding = func() cbor.EncMode {
	mode, err := cbor.EncOptions{ShortestFloat: cbor.ShortestFloat16}.EncMode()
	if err != nil {
		panic(err) // constants that contradict each other
	}
	return mode
}()

// Parse returns the encoding of an item in diagnostic notation: all of RFC 8949 section
// 8 and RFC 8610 appendix G but for encoding indicators, base32 and comments.
func Parse(s string) ([]byte, error) {
	p := parser{s: s}
	item, err := p.item(0)
	if err == nil && p.space() != 0 {
		err = errors.New("something follows the value")
	}
	if err != nil {
		return nil, fmt.Errorf("value %q: at character %d: %w", s, p.i+1, err)
	}
	return item, nil
}

// parser reads what begins at s[i:].
type parser struct {
	s string
	i int
}

// space skips white space and returns the byte that follows, 0 at the end.
func (p *parser) space() byte {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
	if p.i == len(p.s) {
		return 0
	}
	return p.s[p.i]
}

// take skips white space and then a text, if that comes next.
func (p *parser) take(text string) bool {
	p.space()
	if strings.HasPrefix(p.s[p.i:], text) {
		p.i += len(text)
		return true
	}
	return false
}

// head returns the head of an item.
func head(major byte, n uint64) []byte {
	b, err := encoding.Marshal(n) // a head of major type 0
	if err != nil {
		panic(err) // there is no such number
	}
	b[0] |= major << 5
	return b
}

// keywords are the items that have names.
var keywords = map[string][]byte{
	"false": {0xf4}, "true": {0xf5}, "null": {0xf6}, "undefined": {0xf7},
	"Infinity": {0xf9, 0x7c, 0}, "-Infinity": {0xf9, 0xfc, 0}, "NaN": {0xf9, 0x7e, 0},
}

// item reads an item that is held by as many others as depth says.
func (p *parser) item(depth int) ([]byte, error) {
	if depth > wire.DefaultDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", wire.DefaultDepth)
	}
	switch c := p.space(); {
	case c == 0:
		return nil, errors.New("a value is missing")
	case p.take("[_"):
		return p.items(depth, []byte{majorArray<<5 | openInfo}, "]")
	case p.take("["):
		return p.items(depth, nil, "]")
	case p.take("{_"):
		return p.items(depth, []byte{majorMap<<5 | openInfo}, "}")
	case p.take("{"):
		return p.items(depth, nil, "}")
	case p.take("(_"):
		return p.pieces()
	case p.take("<<"):
		return p.embedded(depth)
	case c == '"':
		return p.text()
	case c == '\'', p.ahead("h'"), p.ahead("b64'"):
		return p.bytes()
	}
	word := p.word()
	if item, ok := keywords[word]; ok {
		return item, nil
	}
	if p.take("(") {
		return p.call(depth, word)
	}
	return p.number(word)
}

func (p *parser) ahead(text string) bool { return strings.HasPrefix(p.s[p.i:], text) }

// word reads what numbers and names are made of.
func (p *parser) word() string {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n[]{}()<>,:\"'", p.s[p.i]) < 0 {
		p.i++
	}
	return p.s[start:p.i]
}

// items reads the items of an array or a map up to its end. Without a head it
// is of definite length.
func (p *parser) items(depth int, open []byte, end string) ([]byte, error) {
	var count uint64
	var held []byte
	for !p.take(end) {
		if count > 0 && !p.take(",") {
			return nil, fmt.Errorf("%q or %q is missing", ",", end)
		}
		item, err := p.item(depth + 1)
		if err != nil {
			return nil, err
		}
		held = append(held, item...)
		count++
		if end == "}" {
			if !p.take(":") {
				return nil, fmt.Errorf("%q is missing after a key", ":")
			}
			if item, err = p.item(depth + 1); err != nil {
				return nil, err
			}
			held = append(held, item...)
		}
	}
	switch {
	case open != nil:
		return append(append(open, held...), breakByte), nil
	case end == "}":
		return append(head(majorMap, count), held...), nil
	default:
		return append(head(majorArray, count), held...), nil
	}
}

// pieces reads a string of indefinite length.
func (p *parser) pieces() ([]byte, error) {
	var out []byte
	for out == nil || !p.take(")") {
		if out != nil && !p.take(",") {
			return nil, fmt.Errorf("%q or %q is missing", ",", ")")
		}
		piece := p.bytes
		if p.space() == '"' {
			piece = p.text
		}
		item, err := piece()
		if err != nil {
			return nil, err
		}
		major := item[0] >> 5
		if out == nil {
			out = []byte{major<<5 | openInfo}
		}
		if out[0]>>5 != major {
			return nil, errors.New("a string of both text and bytes")
		}
		out = append(out, item...)
	}
	return append(out, breakByte), nil
}

// embedded reads items that are the contents of a byte string.
func (p *parser) embedded(depth int) ([]byte, error) {
	var held []byte
	for first := true; !p.take(">>"); first = false {
		if !first && !p.take(",") {
			return nil, fmt.Errorf("%q or %q is missing", ",", ">>")
		}
		item, err := p.item(depth + 1)
		if err != nil {
			return nil, err
		}
		held = append(held, item...)
	}
	return append(head(majorBytes, uint64(len(held))), held...), nil
}

// quoted reads a string in quotes, with its quotes. What a backslash stands for is not
// looked at.
func (p *parser) quoted(quote byte) (string, error) {
	start := p.i
	for i := start + 1; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			i++
		case quote:
			p.i = i + 1
			return p.s[start:p.i], nil
		}
	}
	return "", fmt.Errorf("the string has no end: %c is missing", quote)
}

// text reads a text string.
func (p *parser) text() ([]byte, error) {
	quoted, err := p.quoted('"')
	if err != nil {
		return nil, err
	}
	var s string
	if err := json.Unmarshal([]byte(quoted), &s); err != nil {
		return nil, err
	}
	return append(head(majorText, uint64(len(s))), s...), nil
}

// bytes reads a byte string: h'...', b64'...' or '...'.
func (p *parser) bytes() ([]byte, error) {
	p.space()
	isHex, is64 := p.take("h"), p.take("b64")
	if !p.ahead("'") {
		return nil, errors.New("a string is missing")
	}
	quoted, err := p.quoted('\'')
	if err != nil {
		return nil, err
	}
	inner := quoted[1 : len(quoted)-1]
	var b []byte
	switch {
	case isHex:
		b, err = hex.DecodeString(strings.Join(strings.Fields(inner), ""))
	case is64:
		inner = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(strings.Join(strings.Fields(inner), ""))
		b, err = base64.RawStdEncoding.DecodeString(inner)
	default:
		b = []byte(strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(inner))
	}
	if err != nil {
		return nil, err
	}
	return append(head(majorBytes, uint64(len(b))), b...), nil
}

// call reads what is in the brackets of a tag or a simple value.
func (p *parser) call(depth int, word string) ([]byte, error) {
	if word == "simple" {
		p.space()
		n, err := strconv.ParseUint(p.word(), 10, 8)
		if err != nil || 20 <= n && n < 32 || !p.take(")") {
			return nil, errors.New("simple() has no number up to 255 that is free for it")
		}
		return head(majorSimple, n), nil
	}
	tag, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is no number of a tag", word)
	}
	item, err := p.item(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, fmt.Errorf("%q is missing", ")")
	}
	return append(head(majorTag, tag), item...), nil
}

// number returns the encoding of a number.
func (p *parser) number(word string) ([]byte, error) {
	digits := strings.TrimPrefix(word, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || strings.Contains(digits, "_") {
		p.i -= len(word)
		return nil, fmt.Errorf("%q is no value (text needs double quotes)", word)
	}
	base := 10
	if len(digits) > 1 && digits[0] == '0' && strings.ContainsAny(digits[1:2], "xXbBoO") {
		base = 0
	}
	if n, ok := new(big.Int).SetString(word, base); ok {
		return encoding.Marshal(n)
	}
	f, err := strconv.ParseFloat(word, 64)
	if err != nil || math.IsInf(f, 0) {
		p.i -= len(word)
		return nil, fmt.Errorf("%q is no number", word)
	}
	return encoding.Marshal(f)
}

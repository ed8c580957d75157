// Package diag reads and writes CBOR in diagnostic notation (RFC 8949 section
// 8), of which JSON is a part: the notation in which people write values on a
// command line, and get them printed.
package diag

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-grasp/grasp/internal/wire"
	"github.com/go-grasp/grasp/internal/words"
)

// hexPrefix begins a value that is given as encoded CBOR.
const hexPrefix = "hex:"

// Value returns the CBOR encoding of a value from a command line: JSON or
// diagnostic notation, or encoded CBOR in hexadecimal digits after "hex:".
func Value(s string) ([]byte, error) {
	digits, isHex := strings.CutPrefix(s, hexPrefix)
	if !isHex {
		return Parse(s)
	}
	raw, err := hex.DecodeString(digits)
	if err == nil {
		err = wire.WellFormed(raw, wire.Limits{Bytes: len(raw), Elements: len(raw)})
	}
	if err != nil {
		return nil, fmt.Errorf("value %q: %w", s, err)
	}
	return raw, nil
}

// Format returns an encoded item in diagnostic notation, or as h'...' if it is none,
// or nested deeper than a message may be.
func Format(item []byte) string { return words.Notation(item) }

// JSON returns an encoded item as JSON, or null if JSON has no such value.
func JSON(item []byte) json.RawMessage {
	if text := Format(item); json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return json.RawMessage("null")
}

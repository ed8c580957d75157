package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-grasp/grasp/examples/internal/capture"
	"github.com/go-grasp/grasp/internal/wire"
)

// text decodes what is no capture: dumps, lines of digits, or messages as they are.
func (d *decoder) text(all []byte) error {
	const mark = "\ufeff" // byte order mark
	text := bytes.TrimPrefix(all, []byte(mark))
	if dumps, ok := readDumps(text); ok {
		return d.dumps(dumps)
	}
	lines, ok := hexLines(text)
	switch {
	case !ok && isWords(text):
		return not("no message: a text that is neither hexadecimal digits nor a dump")
	case !ok:
		lines = [][]byte{all}
	default:
		if joined, ok := d.joined(lines); ok {
			lines = [][]byte{joined}
		}
	}
	for _, raw := range lines {
		if err := d.sequence(seen{}, raw); err != nil {
			return err
		}
	}
	return nil
}

// isWords reports whether a text is for people. No message is, since it begins with a byte that
// is no character.
func isWords(text []byte) bool {
	return len(text) > 0 && utf8.Valid(text) && !bytes.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsPrint(r) && !unicode.IsSpace(r)
	})
}

// parseHex reads digits, which may have spaces or colons between them.
func parseHex(s string) ([]byte, bool) {
	s = strings.NewReplacer(" ", "", "\t", "", ":", "", "\r", "").Replace(s)
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		s = s[2:]
	}
	raw, err := hex.DecodeString(s)
	return raw, err == nil && len(raw) > 0
}

// hexLines reads lines of digits; those that are empty or begin with # are left out. It
// is false if there are others.
func hexLines(text []byte) ([][]byte, bool) {
	var out [][]byte
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		raw, ok := parseHex(s)
		if !ok {
			return nil, false
		}
		out = append(out, raw)
	}
	return out, len(out) > 0
}

// joined returns the bytes of all lines, if messages go on from one to the next: all lines
// but the last have the same length, as xxd -p prints them, and together they make sense.
func (d *decoder) joined(lines [][]byte) ([]byte, bool) {
	last := len(lines) - 1
	for _, line := range lines[:last] {
		if len(line) != len(lines[0]) {
			return nil, false
		}
	}
	if _, err := wire.Scan(lines[0], d.limits); last == 0 || !errors.Is(err, wire.ErrTruncated) {
		return nil, false
	}
	all := bytes.Join(lines, nil)
	for rest := all; len(rest) > 0; {
		n, err := wire.Scan(rest, d.limits)
		if err != nil {
			return nil, false
		}
		if _, err := wire.Parse(rest[:n], d.limits); err != nil {
			return nil, false
		}
		rest = rest[n:]
	}
	return all, true
}

// dumps decodes what dumps hold: messages, or else packets.
func (d *decoder) dumps(all [][]byte) error {
	const array = 0x80 // CBOR's major type of each message
	if all[0][0]&0xe0 == array {
		for _, raw := range all {
			if err := d.sequence(seen{}, raw); err != nil {
				return err
			}
		}
		return nil
	}
	const ethernet, raw = 1, 101 // LINKTYPE_ numbers
	linkType := ethernet
	if version := all[0][0] >> 4; version == 4 || version == 6 {
		linkType = raw
	}
	return d.packets(func() (capture.Packet, error) {
		if len(all) == 0 {
			return capture.Packet{}, io.EOF
		}
		p := capture.Packet{LinkType: linkType, Data: all[0]}
		all = all[1:]
		return p, nil
	})
}

// row is a line of a dump: an offset, and what comes after it.
type row struct {
	at   int
	text string
}

// parseRow reads a row, whose offset has 4 to 8 digits. It is false for any other line.
func parseRow(line string) (row, bool) {
	const digits = "0123456789abcdefABCDEF"
	s := strings.TrimSpace(line)
	if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
		s = s[2:]
	}
	text := strings.TrimLeft(s, digits)
	offset := s[:len(s)-len(text)]
	text = strings.TrimPrefix(text, ":")
	if len(offset) < 4 || len(offset) > 8 || text != "" && text[0] != ' ' && text[0] != '\t' {
		return row{}, false
	}
	at, err := strconv.ParseUint(offset, 16, 31)
	return row{int(at), strings.TrimSpace(text)}, err == nil
}

// readDumps reads dumps, each of which begins with offset 0. Lines of another form are left
// out, such as those that tcpdump prints between packets. It is false if there is no dump.
func readDumps(text []byte) ([][]byte, bool) {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, false
	}
	var rows []row
	for line := range bytes.Lines(text) {
		r, ok := parseRow(string(line))
		if !ok {
			continue
		}
		if len(rows) == 0 && r.at != 0 {
			return nil, false
		}
		rows = append(rows, r)
	}
	var all [][]byte
	width := 16
	for i, r := range rows {
		last := i+1 == len(rows) || rows[i+1].at == 0
		if !last {
			width = rows[i+1].at - r.at
		}
		if r.at == 0 {
			all = append(all, nil)
		}
		dump := &all[len(all)-1]
		b := r.bytes(width, last)
		if r.at != len(*dump) || !last && len(b) != width {
			return nil, false
		}
		*dump = append(*dump, b...)
	}
	for _, dump := range all {
		if len(dump) == 0 {
			return nil, false
		}
	}
	return all, len(all) > 0
}

// bytes returns the bytes of a row, so many at most. What comes after them are the same as
// characters: hexdump has them between bars; from others they are told by two spaces, which
// matters in the last row only, that has as many bytes as it has.
func (r row) bytes(most int, last bool) (all []byte) {
	text, _, barred := strings.Cut(r.text, "|")
	if last && !barred {
		text, _, _ = strings.Cut(text, "  ")
	}
	for field := range strings.FieldsSeq(text) {
		b, err := hex.DecodeString(field)
		if err != nil || len(all)+len(b) > most {
			break
		}
		all = append(all, b...)
	}
	return all
}

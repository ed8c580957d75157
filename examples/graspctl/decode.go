package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-grasp/grasp/examples/internal/capture"
	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/wire"
)

func decodeCommand() cli.Command {
	var d decoder
	return cli.Command{
		Name: "decode",
		About: "Decodes messages into words and diagnostic notation, and says what is wrong with them\n" +
			"and at which byte. They come in hexadecimal digits as arguments, or from files, - and nothing\n" +
			"being standard input: captures of the formats pcap and pcapng, or a message in each\n" +
			"line in hexadecimal digits, or messages as they are. The exit status is 1 if one is wrong.",
		Arguments: "[hex | file | -]...",
		Offline:   true,
		Results:   true,
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&d.brief, "brief", false, "print no diagnostic notation, a line for each message")
			f.IntVar(&d.limits.Bytes, "max", wire.DefaultBytes, "the length in `bytes` that a message may have")
		},
		Check: func(cli.Options) error {
			if d.limits.Bytes < 1 || d.limits.Bytes > maxLength {
				return fmt.Errorf("-max %d: it must be from 1 to %d", d.limits.Bytes, maxLength)
			}
			d.limits.Elements = d.limits.Bytes
			return nil
		},
		Run: run(func(ctx context.Context, p *cli.Program) error {
			d.ctx, d.p = ctx, p
			args := p.Args
			if len(args) == 0 {
				args = []string{"-"}
			}
			for _, arg := range args {
				if err := d.argument(arg); err != nil {
					return err
				}
			}
			switch {
			case d.wrong > 0:
				return not("wrong: %d of %d", d.wrong, d.count)
			case d.count == 0:
				return not("no message")
			}
			return nil
		}),
	}
}

// maxLength bounds -max.
const maxLength = 1 << 24

// decoder decodes messages.
type decoder struct {
	ctx    context.Context
	p      *cli.Program
	brief  bool
	limits wire.Limits

	count, wrong int
}

// argument decodes what an argument gives: digits, or else a file.
func (d *decoder) argument(arg string) error {
	if raw, ok := parseHex(arg); ok {
		return d.sequence(seen{}, raw)
	}
	if arg == "-" {
		return d.input(d.p.Stdin)
	}
	f, err := os.Open(arg)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.input(f)
}

// parseHex reads digits, which may have spaces or colons between them.
func parseHex(s string) ([]byte, bool) {
	s = strings.NewReplacer(" ", "", "\t", "", ":", "", "\r", "").Replace(s)
	raw, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	return raw, err == nil && len(raw) > 0
}

// maxText bounds what is read that is no capture.
const maxText = 64 << 20

// input decodes a file.
func (d *decoder) input(from io.Reader) error {
	r := bufio.NewReader(from)
	begin, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if capture.IsCapture(begin) {
		return d.capture(r)
	}
	all, err := io.ReadAll(io.LimitReader(r, maxText+1))
	switch {
	case err != nil:
		return err
	case len(all) > maxText:
		return fmt.Errorf("more than %d bytes that are no capture", maxText)
	}
	lines, ok := hexLines(all)
	if !ok {
		return d.sequence(seen{}, all)
	}
	for _, raw := range lines {
		if err := d.sequence(seen{}, raw); err != nil {
			return err
		}
	}
	return nil
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

// sequence decodes messages one after the other.
func (d *decoder) sequence(at seen, raw []byte) error {
	for len(raw) > 0 {
		n, err := d.first(at, raw)
		if err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}

// first decodes the first message of some bytes, and returns its length: all of them if
// it has no end.
func (d *decoder) first(at seen, raw []byte) (int, error) {
	n, err := wire.Scan(raw, d.limits)
	if err != nil {
		n = len(raw)
	}
	return n, d.message(at, raw[:n])
}

// message decodes one message.
func (d *decoder) message(at seen, raw []byte) error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	at.look(raw, d.limits)
	return d.print(at)
}

// print prints what is there, and counts it.
func (d *decoder) print(s seen) error {
	d.count++
	if s.Error != "" {
		d.wrong++
	}
	return s.print(d.p, !d.brief)
}

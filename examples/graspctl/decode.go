package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	flag "github.com/spf13/pflag"

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
			"line in hexadecimal digits, or dumps of messages and packets as xxd, od, hexdump and\n" +
			"tcpdump -x print them, or messages as they are, each perhaps compressed with gzip.\n" +
			"Packets of a capture that it cannot read are counted on standard error. The exit status\n" +
			"is 1 if a message is wrong, or if there is none.",
		Arguments: "[hex | file | -]...",
		Offline:   true,
		Results:   true,
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&d.brief, "brief", false, "print no diagnostic notation, a line for each message")
			f.IntVar(&d.limits.Bytes, "max", wire.DefaultBytes, "the length in `bytes` that a message may have")
		},
		Check: func(cli.Options) error {
			if d.limits.Bytes < 1 || d.limits.Bytes > maxLength {
				return fmt.Errorf("--max %d: it must be from 1 to %d", d.limits.Bytes, maxLength)
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

// maxLength bounds --max.
const maxLength = 1 << 24

// decoder decodes messages.
type decoder struct {
	ctx    context.Context
	p      *cli.Program
	brief  bool
	limits wire.Limits

	count, wrong int
}

// plural returns a number of things in words.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
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

// maxText bounds what is read that is no capture.
const maxText = 64 << 20

// formats are those of captures, and of compression, that are not read, by how files
// of them begin.
var formats = map[string]string{
	"\x28\xb5\x2f\xfd":     "compressed with zstd, which is not read: try zstd -dc FILE | graspctl decode",
	"\xfd7zXZ\x00":         "compressed with xz, which is not read: try xz -dc FILE | graspctl decode",
	"BZh":                  "compressed with bzip2, which is not read: try bzip2 -dc FILE | graspctl decode",
	"\x04\x22\x4d\x18":     "compressed with lz4, which is not read: try lz4 -dc FILE | graspctl decode",
	"PK\x03\x04":           "a zip archive, which is not read: try unzip -p FILE | graspctl decode",
	"snoop\x00\x00\x00":    "a capture of snoop, which is not read: " + convert,
	"GMBU":                 "a capture of Microsoft's Network Monitor, which is not read: " + convert,
	"TRSNIFF data    \x1a": "a capture of Sniffer, which is not read: " + convert,
}

const convert = "editcap FILE FILE.pcapng converts it"

// input decodes a file.
func (d *decoder) input(from io.Reader) error {
	r := bufio.NewReader(from)
	if begin, _ := r.Peek(2); string(begin) == "\x1f\x8b" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("compressed with gzip, as it seems: %w", err)
		}
		r = bufio.NewReader(z)
	}
	const longest = 17 // of the formats
	begin, err := r.Peek(longest)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for prefix, what := range formats {
		if bytes.HasPrefix(begin, []byte(prefix)) {
			return errors.New(what)
		}
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
	return d.text(all)
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

package grasp

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/time/rate"

	"github.com/go-grasp/grasp/internal/outlet"
)

// Dialogue is how an instance talks to people: what the Python prototype asks
// on the terminal when it starts. A library does not read standard input
// unasked; a program may call [AskDialogue].
type Dialogue struct {
	// Testing turns on test mode: Ttprint prints.
	Testing bool
	// Diagnosing prints why messages were dropped.
	Diagnosing bool
	// Silent has nothing printed, whatever else is set.
	Silent bool
	// Output is where to print; nil means standard output. Calls that print wait
	// for it. What Diagnosing prints waits in a queue of 8192 lines, so that it
	// holds up nobody; what is beyond is counted under ReasonSlowReceiver.
	Output io.Writer
}

// AskDialogue asks the questions of the Python prototype on out and reads the
// answers, a line each, from in. Only an answer that begins with y means yes;
// at the end of the input the rest is no. It blocks while in does.
func AskDialogue(in io.Reader, out io.Writer) (Dialogue, error) {
	var d Dialogue
	lines := bufio.NewScanner(in)
	for _, q := range []struct {
		text string
		set  *bool
	}{
		{"Test mode (many extra diagnostics)? Y/N: ", &d.Testing},
		{"Print message syntax diagnostics? Y/N: ", &d.Diagnosing},
		{"Run silently? Y/N: ", &d.Silent},
	} {
		if _, err := io.WriteString(out, q.text); err != nil {
			return d, err
		}
		if !lines.Scan() {
			break
		}
		answer := strings.TrimSpace(lines.Text())
		*q.set = strings.HasPrefix(answer, "y") || strings.HasPrefix(answer, "Y")
	}
	return d, lines.Err()
}

// printer prints lines, each with one write.
type printer struct {
	dialogue  Dialogue
	observers *observers             // nil if there can be none
	limiter   *rate.Limiter          // of what diagnose prints; nil: none
	lines     *outlet.Outlet[string] // by which the instance prints
	turn      chan struct{}          // one slot, full while somebody writes; the instance never waits for it
}

// newPrinter returns a printer. It calls lost for each line that the instance
// prints but Output is too slow for.
func newPrinter(d Dialogue, o *observers, lost func()) *printer {
	if d.Output == nil {
		d.Output = os.Stdout
	}
	p := &printer{dialogue: d, observers: o, turn: make(chan struct{}, 1)}
	p.lines = outlet.New(p.write, lost)
	return p
}

// say prints things, separated by spaces, after the name of who says it, and
// tells the observers.
func (p *printer) say(who string, things []any) {
	heard := p.observers != nil && len(p.observers.list()) > 0
	if p.dialogue.Silent && !heard {
		return
	}
	who, text := printable(who), line(things)
	if heard {
		p.observers.words(who, text)
	}
	if who != "" {
		text = who + ": " + text
	}
	p.write(text + "\n")
}

// line returns things, separated by spaces, fit to be printed on a line.
func line(things []any) string {
	return printable(strings.TrimSuffix(fmt.Sprintln(things...), "\n"))
}

// write writes lines that are fit to be printed.
func (p *printer) write(text string) {
	if p.dialogue.Silent {
		return
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	_, _ = io.WriteString(p.dialogue.Output, text)
}

// test prints in test mode only.
func (p *printer) test(who string, things []any) {
	if p.dialogue.Testing {
		p.say(who, things)
	}
}

// diagnose prints why something was dropped, if that is wanted. Our own
// multicasts come back all the time. It returns false if that was one line too
// many in a second.
func (p *printer) diagnose(e Event) bool {
	if !p.dialogue.Diagnosing || p.dialogue.Silent || e.Reason == ReasonOwn {
		return true
	}
	if p.limiter != nil && !p.limiter.Allow() {
		return false
	}
	things := []any{"Dropped:", e.Reason}
	if e.Message != "" {
		things = append(things, e.Message)
	}
	if e.Objective != "" {
		things = append(things, strconv.Quote(e.Objective))
	}
	if e.Peer.IsValid() {
		things = append(things, "from", e.Peer)
	}
	if e.Err != nil {
		things = append(things, e.Err)
	}
	text := line(things) + "\n"
	p.lines.Put(text, len(text))
	return true
}

// printable returns text that no terminal takes for a command, and no reader
// for another line: it may hold what a peer said.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// Tprint prints things, separated by spaces, on a line of their own that
// begins with the ASA's name. It is safe for concurrent use, and for whatever a
// peer said: control characters and what is not UTF-8 are replaced. Where it
// prints, and whether, is set by Config.Dialogue; [Instance.Observe] has it told
// elsewhere.
func (a *ASA) Tprint(things ...any) { a.g.print.say(a.name, things) }

// Ttprint prints like Tprint, in test mode only.
func (a *ASA) Ttprint(things ...any) { a.g.print.test(a.name, things) }

// DumpAll prints what the instance knows, from a [Snapshot]: all of it, or
// with partial the objectives and flooded values only.
func (g *Instance) DumpAll(partial bool) {
	g.print.write(g.Snapshot().text(partial))
}

package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"time"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/examples/internal/diag"
)

// answer is what the user says to an offer.
type answer struct {
	kind   answerKind
	value  []byte // of a counter-offer, encoded
	reason string // of a decline, may be empty
}

type answerKind uint8

const (
	accepted answerKind = iota + 1
	declined
	countered
)

// input is the lines of standard input.
type input struct {
	from  io.Reader
	begun bool
	lines chan string // closed at the end
	done  chan struct{}
}

// newInput returns the lines of a reader, from which nothing is read until the
// first is asked for. stop lets go of it; a Read that is under way may go on.
func newInput(from io.Reader) (in *input, stop func()) {
	in = &input{from: from, lines: make(chan string), done: make(chan struct{})}
	return in, func() { close(in.done) }
}

// read reads lines until the end of the input, or until nobody wants them.
func (in *input) read() {
	defer close(in.lines)
	s := bufio.NewScanner(in.from)
	for s.Scan() {
		select {
		case in.lines <- s.Text():
		case <-in.done:
			return
		}
	}
}

// atOnce is how soon an answer comes that nobody has to think about.
const atOnce = 300 * time.Millisecond

// ask asks the user what to say to an offer. While he thinks it calls wait, again and
// again after the given time. The end of the input, or of the context, declines.
func (in *input) ask(ctx context.Context, p *cli.Program, wait func() error, again time.Duration) (answer, error) {
	if !in.begun {
		in.begun = true
		go in.read()
	}
	const question = "accept, decline [reason], or a value as a counter-offer?"
	p.Say(question)
	thinking := time.NewTimer(atOnce)
	defer thinking.Stop()
	for {
		select {
		case <-ctx.Done():
			return answer{kind: declined, reason: "interrupted"}, nil
		case <-thinking.C:
			if err := wait(); err != nil {
				return answer{}, err
			}
			if again > 0 {
				thinking.Reset(again)
			}
		case line, ok := <-in.lines:
			if !ok {
				return answer{kind: declined, reason: "nobody is there to answer"}, nil
			}
			x, err := parseAnswer(line)
			if err == nil && x.kind != 0 {
				return x, nil
			}
			if err != nil {
				p.Say(err)
			}
			p.Say(question)
		}
	}
}

// parseAnswer reads a line. An empty one is no answer.
func parseAnswer(line string) (answer, error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case word == "":
		return answer{}, nil
	case word == "accept" && rest == "":
		return answer{kind: accepted}, nil
	case word == "decline":
		return answer{kind: declined, reason: strings.TrimSpace(rest)}, nil
	}
	value, err := diag.Value(strings.TrimSpace(line))
	return answer{kind: countered, value: value}, err
}

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/supervise"
)

// event is what there is to tell.
type event struct {
	Event   string // started, link up, link down, no link, trouble, secure, not secure, reloaded, not reloaded, stopped, or a supervise.What
	Link    string
	Address string
	Port    uint16
	Reason  string
	Program *supervise.Event // what happened to a program
	*counters
}

// counters are the numbers of messages by type, and of what was dropped by
// reason.
type counters struct {
	Relayed  map[string]uint64
	Received map[string]uint64
	Sent     map[string]uint64
	Dropped  map[grasp.Reason]uint64
}

// teller prints events, in words or as a log of JSON objects. It may be used by several
// goroutines at once.
type teller struct {
	w      io.Writer
	silent bool // in words

	mu   sync.Mutex   // guards all following fields, and what is written
	json slog.Handler // nil: in words
	err  error        // the first of printing
}

func newTeller(w io.Writer, silent bool) *teller { return &teller{w: w, silent: silent} }

// useJSON says whether JSON is wanted.
func (t *teller) useJSON(wanted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.json = nil
	if wanted {
		t.json = slog.NewJSONHandler(t.w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.MessageKey {
				a.Key = "event"
			}
			return a
		}})
	}
}

func (t *teller) say(e event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	switch {
	case t.json != nil:
		r := slog.NewRecord(time.Now(), e.level(), e.Event, 0)
		r.AddAttrs(e.attrs()...)
		err = t.json.Handle(context.Background(), r)
	case !t.silent:
		_, err = fmt.Fprintln(t.w, e)
	}
	if t.err == nil {
		t.err = err
	}
}

// failed returns the first error of printing.
func (t *teller) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// program tells what happened to a program.
func (t *teller) program(e supervise.Event) { t.say(event{Event: string(e.What), Program: &e}) }

// level returns how bad it is.
func (e event) level() slog.Level {
	bad := []string{"no link", "trouble", "not secure", "not reloaded", string(supervise.LogFailed)}
	if slices.Contains(bad, e.Event) || e.Program != nil && e.Program.What == supervise.Ended && e.Program.Err != nil {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// attrs returns what there is to say of it in JSON.
func (e event) attrs() (all []slog.Attr) {
	text := func(key, value string) {
		if value != "" {
			all = append(all, slog.String(key, value))
		}
	}
	text("link", e.Link)
	text("address", e.Address)
	if e.Port != 0 {
		all = append(all, slog.Int("port", int(e.Port)))
	}
	text("reason", e.Reason)
	if p := e.Program; p != nil {
		text("program", p.Program)
		if p.PID != 0 {
			all = append(all, slog.Int("pid", p.PID))
		}
		if p.What == supervise.Printed {
			all = append(all, slog.String("line", p.Line))
		}
		if p.Err != nil {
			text("reason", p.Err.Error())
		}
		if p.Pause != 0 {
			all = append(all, slog.Float64("restart_seconds", p.Pause.Seconds()))
		}
	}
	if c := e.counters; c != nil {
		all = append(all, slog.Any("relayed", c.Relayed), slog.Any("received", c.Received), slog.Any("sent", c.Sent), slog.Any("dropped", c.Dropped))
	}
	return all
}

// String returns the event in words.
func (e event) String() string {
	switch e.Event {
	case "started":
		return fmt.Sprintf("Relaying discoveries and floods between links; responses to port %d", e.Port)
	case "link up":
		return fmt.Sprintf("Link up: %s (%s)", e.Link, e.Address)
	case "link down":
		return fmt.Sprintf("Link down: %s (%s)", e.Link, e.Address)
	case "trouble":
		return "Trouble with links: " + e.Reason
	case "no link":
		return fmt.Sprintf("No link: %s: %s", e.Link, e.Reason)
	case "secure":
		return "The links are protected: " + e.Reason
	case "not secure":
		return "The links are not protected, nothing is relayed: " + e.Reason
	case "reloaded":
		return "Reloaded: the new configuration is in force"
	case "not reloaded":
		return "Not reloaded, the old configuration stays: " + e.Reason
	}
	if e.Program != nil {
		return programInWords(e.Program)
	}
	return fmt.Sprintf("Relayed: %s\nReceived: %s\nSent: %s\nDropped: %s",
		inWords(e.Relayed), inWords(e.Received), inWords(e.Sent), inWords(e.Dropped))
}

func programInWords(e *supervise.Event) string {
	switch e.What {
	case supervise.Started:
		return fmt.Sprintf("Program %s: started as process %d", e.Program, e.PID)
	case supervise.Printed:
		return e.Program + ": " + e.Line
	case supervise.Stopped:
		return fmt.Sprintf("Program %s: stopped", e.Program)
	case supervise.LogFailed:
		return fmt.Sprintf("Program %s: its log is full or broken, what it prints is lost: %v", e.Program, e.Err)
	}
	how := "exit status 0"
	if e.Err != nil {
		how = e.Err.Error()
	}
	then := "it is not started again"
	if e.Pause > 0 {
		then = fmt.Sprintf("starting it again in %v", e.Pause)
	}
	return fmt.Sprintf("Program %s: ended: %s; %s", e.Program, how, then)
}

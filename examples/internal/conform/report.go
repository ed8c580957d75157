package conform

import (
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Printer prints results for people, as they come and at the end.
type Printer struct {
	W io.Writer
	// Colours are for terminals.
	Colours bool
	// Brief leaves out what passes, and the bytes of what fails.
	Brief bool
}

// The colours of verdicts.
var colours = map[Verdict]string{Pass: "\x1b[32m", Fail: "\x1b[31m", Skipped: "\x1b[33m"}

func (p Printer) colour(v Verdict, s string) string {
	if !p.Colours {
		return s
	}
	return colours[v] + s + "\x1b[0m"
}

// Print prints all results, and a summary by strength.
func (p Printer) Print(r *Report) {
	group := ""
	for _, x := range r.Results {
		if p.Brief && x.Verdict != Fail {
			continue
		}
		if g := x.Check.Group(); g != group {
			group = g
			fmt.Fprintf(p.W, "\n%s\n", group)
		}
		p.result(x)
	}
	p.summary(r)
}

func (p Printer) result(x Result) {
	c := x.Check
	what := strings.ToUpper(string(x.Verdict))
	if x.Verdict == Fail && c.Strength == May {
		what = "NO  " // which is its right
	}
	fmt.Fprintf(p.W, "  %s  %-5s %-6s %-34s §%-8s %s\n", p.colour(x.Verdict, what), c.ID, c.Strength, c.Name, c.Section, c.Demand)
	if x.Verdict == Pass {
		return
	}
	fmt.Fprintf(p.W, "        %s\n", x.Why)
	if p.Brief {
		return
	}
	for _, e := range x.Exchanges {
		fmt.Fprintf(p.W, "        %9s  %s\n", e.At.Round(100*time.Microsecond), e)
		if e.Bytes != nil {
			fmt.Fprintf(p.W, "                   %s\n", shortened(hex.EncodeToString(e.Bytes)))
			fmt.Fprintf(p.W, "                   %s\n", shortened(diagnose(e.Bytes)))
		}
	}
}

// String says what happened.
func (e Exchange) String() string {
	if e.Sent {
		return "-> " + e.Where
	}
	return "<- " + e.Where
}

// mostText bounds how much of a message is printed.
const mostText = 600

func shortened(s string) string {
	if len(s) > mostText {
		return s[:mostText] + fmt.Sprintf("… (%d more)", len(s)-mostText)
	}
	return s
}

func (p Printer) summary(r *Report) {
	fmt.Fprintf(p.W, "\n%-8s %6s %6s %8s\n", "", "passed", "failed", "skipped")
	for _, s := range strengths {
		pass, fail, skip := r.Count(s, Pass), r.Count(s, Fail), r.Count(s, Skipped)
		v := Pass
		if fail > 0 && s != May {
			v = Fail
		}
		fmt.Fprintf(p.W, "%s %6d %6d %8d\n", p.colour(v, fmt.Sprintf("%-8s", s)), pass, fail, skip)
	}
	fmt.Fprintf(p.W, "\n%v; sent %d datagrams, and %d messages over %d connections\n", r.Took.Round(100*time.Millisecond), r.Datagrams, r.Messages, r.Connections)
}

// jsonResult is a line of the JSON form of a report.
type jsonResult struct {
	ID        string         `json:"id"`
	Name      string         `json:"check"`
	Section   string         `json:"section"`
	Strength  Strength       `json:"strength"`
	Demand    string         `json:"demand"`
	Verdict   Verdict        `json:"verdict"`
	Why       string         `json:"why,omitempty"`
	Seconds   float64        `json:"seconds"`
	Exchanges []jsonExchange `json:"exchanges,omitempty"`
}

type jsonExchange struct {
	Seconds    float64 `json:"at"`
	What       string  `json:"what"`
	Hex        string  `json:"hex,omitempty"`
	Diagnostic string  `json:"diagnostic,omitempty"`
}

// jsonSummary is its last line.
type jsonSummary struct {
	Seconds     float64 `json:"seconds"`
	Datagrams   int64   `json:"datagrams"`
	Connections int64   `json:"connections"`
	Messages    int64   `json:"messages"`
}

// JSON writes a report as JSON objects, one a line.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	for _, x := range r.Results {
		c := x.Check
		line := jsonResult{
			ID: c.ID, Name: c.Name, Section: c.Section, Strength: c.Strength, Demand: c.Demand,
			Verdict: x.Verdict, Why: x.Why, Seconds: x.Took.Seconds(),
		}
		for _, y := range x.Exchanges {
			z := jsonExchange{Seconds: y.At.Seconds(), What: y.String()}
			if y.Bytes != nil {
				z.Hex, z.Diagnostic = hex.EncodeToString(y.Bytes), diagnose(y.Bytes)
			}
			line.Exchanges = append(line.Exchanges, z)
		}
		if err := e.Encode(line); err != nil {
			return err
		}
	}
	return e.Encode(jsonSummary{r.Took.Seconds(), r.Datagrams, r.Connections, r.Messages})
}

// ReadJSON reads what [Report.JSON] wrote, but for the exchanges.
func ReadJSON(from io.Reader) (*Report, error) {
	r := &Report{}
	known := make(map[string]Check)
	for _, c := range Checks() {
		known[c.Name] = c
	}
	for d := json.NewDecoder(from); ; {
		var (
			both json.RawMessage
			line jsonResult
			last jsonSummary
		)
		switch err := d.Decode(&both); err {
		case nil:
		case io.EOF:
			return r, nil
		default:
			return nil, err
		}
		if err := errors.Join(json.Unmarshal(both, &line), json.Unmarshal(both, &last)); err != nil {
			return nil, err
		}
		if line.Name == "" {
			r.Took = time.Duration(last.Seconds * float64(time.Second))
			r.Datagrams, r.Connections, r.Messages = last.Datagrams, last.Connections, last.Messages
			continue
		}
		c, ok := known[line.Name]
		if !ok {
			return nil, fmt.Errorf("there is no check %q", line.Name)
		}
		r.Results = append(r.Results, Result{
			Check: c, Verdict: line.Verdict, Why: line.Why, Took: time.Duration(line.Seconds * float64(time.Second)),
		})
	}
}

// The elements of JUnit's XML.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string      `xml:"classname,attr"`
		Name    string      `xml:"name,attr"`
		Time    float64     `xml:"time,attr"`
		Failure *junitCause `xml:"failure,omitempty"`
		Skipped *junitCause `xml:"skipped,omitempty"`
		Output  string      `xml:"system-out,omitempty"`
	}
	junitCause struct {
		Message string `xml:"message,attr"`
	}
)

// JUnit writes a report in the XML of JUnit. Only a MUST or a SHOULD counts as
// a failure there; what else fails is told as skipped.
func (r *Report) JUnit(w io.Writer) error {
	var all junitSuites
	for _, x := range r.Results {
		c := x.Check
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != c.Group() {
			all.Suites = append(all.Suites, junitSuite{Name: c.Group()})
		}
		s := &all.Suites[len(all.Suites)-1]
		one := junitCase{Class: "grasp." + c.Group(), Name: c.ID + " " + c.Name, Time: x.Took.Seconds(), Output: c.Demand}
		s.Tests++
		switch {
		case x.Verdict == Fail && (c.Strength == Must || c.Strength == Should):
			s.Failures++
			one.Failure = &junitCause{string(c.Strength) + ": " + x.Why}
			for _, e := range x.Exchanges {
				one.Output += fmt.Sprintf("\n%v %v %x", e.At, e, e.Bytes)
			}
		case x.Verdict != Pass:
			s.Skipped++
			one.Skipped = &junitCause{string(c.Strength) + ": " + x.Why}
		}
		s.Cases = append(s.Cases, one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

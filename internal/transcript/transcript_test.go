package transcript

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// adder is a small machine.
func adder(*testing.T) func(*Command) string {
	sum := 0
	return func(c *Command) string {
		switch c.Name {
		case "add":
			sum += c.Int("n", 1)
			return fmt.Sprintln("sum", sum)
		case "say":
			return strings.Join(c.Strings("words"), "\n")
		case "show":
			return fmt.Sprint(c.String("text", "nothing"), " ", c.Bool("loud"), " ", c.Duration("in", time.Second), " ", c.Has("x"))
		case "nothing":
			return ""
		}
		return c.Unknown()
	}
}

func TestRun(t *testing.T) { Run(t, "testdata", adder) }

func TestWhatIsWrong(t *testing.T) {
	now, wrong, err := replay("f", "> add\nsum 2\n\n> add n=3\nsum 4\n", adder(t))
	require.NoError(t, err)
	require.Equal(t, "> add\nsum 1\n\n> add n=3\nsum 4\n", now, "what -rewrite would write")
	require.Equal(t, []string{"f:1: > add\ngave:\nsum 1\nwanted:\nsum 2"}, wrong)
	for text, want := range map[string]string{
		"sum 1":             "f:1: output without a command",
		"> ":                "no command",
		"\n> add m=1":       "f:2: command add has no argument m",
		"> add n=x":         "argument n",
		"> add n=1 n=2":     "there twice",
		"> jump":            "no such command: jump",
		`> show text="open`: "argument text",
	} {
		_, _, err := replay("f", text, adder(t))
		require.ErrorContains(t, err, want, "%q", text)
	}
}

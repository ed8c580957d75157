package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/hosttoken"
	"github.com/go-grasp/grasp/monitor"
)

// defaultMonitor is where programs are told, by their usage text, to have their monitor.
const defaultMonitor = "localhost:8990"

// tokenHelp says where the token of a monitor is.
const tokenHelp = "A token that the monitor wants is in the URL that the program printed, or is taken from\n" +
	cli.TokenVariable + "."

func dumpCommand() cli.Command {
	var timeout time.Duration
	return cli.Command{
		Name: "dump",
		About: "Dumps what the instances of a running program know: links, objectives, caches, sessions,\n" +
			"counters. The program must have a monitor, as the examples have with --monitor\n" + defaultMonitor + ", which is where it is asked for without a URL.\n" + tokenHelp,
		Arguments: "[url]",
		Offline:   true,
		Results:   true,
		Flags: func(f *flag.FlagSet) {
			f.DurationVar(&timeout, "timeout", 10*time.Second, "the `time` for it all")
		},
		Check: checks(arguments(0, 1), func(cli.Options) error {
			if timeout == 0 {
				return errors.New("--timeout must not be 0")
			}
			return checkTimes(timeout)
		}, func(o cli.Options) error { _, err := snapshotURL(o.Args); return err }),
		Run: run(func(ctx context.Context, p *cli.Program) error {
			at, err := snapshotURL(p.Args)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return dump(ctx, p, at)
		}),
	}
}

// snapshotURL returns where the monitor tells its state: the page's URL, of which only host and
// port need be given, and that of the state itself do both.
func snapshotURL(args []string) (string, error) {
	at := append(args, defaultMonitor)[0]
	if !strings.Contains(at, "://") {
		if strings.HasPrefix(at, ":") {
			at = "localhost" + at
		}
		at = "http://" + at
	}
	u, err := url.Parse(at)
	switch {
	case err != nil:
		return "", err
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return "", fmt.Errorf("%s: no URL of a monitor", at)
	case u.Path == "" || u.Path == "/":
		u.Path = "/snapshot"
	}
	return u.String(), nil
}

// maxState bounds what a monitor may say.
const maxState = 256 << 20

// state is what a monitor tells.
type state monitor.State

// fetchState asks a monitor for its state, and returns how it was told, too.
func fetchState(ctx context.Context, at string) (*state, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, err
	}
	if token := cli.Token(); token != "" && request.URL.Query().Get("token") == "" {
		request.Header.Set("Authorization", "Bearer "+hosttoken.Derive(token, request.URL.Host))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("%w; start the program with --monitor %s, or give the URL of its monitor", err, request.URL.Host)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusUnauthorized {
		return nil, nil, fmt.Errorf("%s: it wants its token: give the URL that the program printed, or the token in %s", at, cli.TokenVariable)
	}
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s: %s", at, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxState+1))
	if err != nil {
		return nil, nil, err
	}
	if len(body) > maxState {
		return nil, nil, fmt.Errorf("%s: more than %d bytes", at, maxState)
	}
	var s state
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, nil, fmt.Errorf("%s: not the state of a monitor: %w", at, err)
	}
	return &s, body, nil
}

// dump prints what a monitor tells.
func dump(ctx context.Context, p *cli.Program, at string) error {
	s, body, err := fetchState(ctx, at)
	if err != nil {
		return err
	}
	if p.JSON {
		var line bytes.Buffer
		if err := json.Compact(&line, body); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.Stdout, line.String())
		return err
	}
	return s.print(p.Stdout)
}

// print prints it for people.
func (s *state) print(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%q at %s\n", s.Caption, s.Time.Format(time.DateTime)); err != nil {
		return err
	}
	for _, i := range s.Instances {
		closed := ""
		if i.Closed {
			closed = ", closed"
		}
		if _, err := fmt.Fprintf(w, "\nInstance %q%s\n%s", i.Name, closed, i.Snapshot); err != nil {
			return err
		}
	}
	return nil
}

// Command domain makes the certificates of a test domain: a trust anchor,
// members, and a list of those that are revoked, for programs with --plane tls.
//
//	go run ./examples/domain --dir d --members briggs,gray
//	go run ./examples/briggs --plane tls --domain d --member briggs
//	go run ./examples/gray --plane tls --domain d --member gray
//
// With --dir of a domain that is there, it issues further certificates, or new
// ones for the same members, and revokes them; programs that run notice within
// seconds. The key of the trust anchor lies in the same directory, without a
// password: this is for trying things out.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	flag "github.com/spf13/pflag"

	"github.com/go-grasp/grasp/examples/internal/cli"
	"github.com/go-grasp/grasp/internal/domain"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the settings: the flags.
type options struct {
	dir, name       string
	members, revoke []string
	lifetime        time.Duration
}

const about = `domain makes the certificates of a domain to try --plane tls with, or issues and
revokes further ones.

Usage: domain --dir DIR [flags]
`

// defaultLifetime of members' certificates.
const defaultLifetime = 365 * 24 * time.Hour

// parse reads the command line. On error the user has been told.
func parse(args []string, stdout, stderr io.Writer) (options, error) {
	var o options
	var members, revoke string
	f := flag.NewFlagSet("domain", flag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&o.dir, "dir", "", "the `directory` of the domain, made if it is not there")
	f.StringVar(&o.name, "name", "a test domain", "the `name` of a new domain")
	f.StringVar(&members, "members", "", "issue certificates to these members: `name[,name]`")
	f.StringVar(&revoke, "revoke", "", "revoke the certificates of these members: `name[,name]`")
	f.DurationVar(&o.lifetime, "lifetime", defaultLifetime, "how long certificates of members are valid: `D`, such as 10m")
	version := cli.VersionFlag(f)
	f.Usage = func() {} // see below
	err := cli.ParseFlags(f, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, about+"\nFlags:\n")
		cli.PrintFlags(stdout, f)
		return o, err
	case err != nil:
		cli.TellFlagError(stderr, "domain", err)
		return o, err
	case *version:
		fmt.Fprintln(stdout, cli.Version("domain"))
		return o, flag.ErrHelp
	}
	o.members, o.revoke = split(members), split(revoke)
	if err := o.check(f.Args()); err != nil {
		fmt.Fprintln(stderr, "domain:", err)
		return o, err
	}
	return o, nil
}

func split(names string) []string {
	if names == "" {
		return nil
	}
	return strings.Split(names, ",")
}

// check refuses what makes no sense.
func (o options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.dir == "":
		return errors.New("--dir is missing")
	case o.lifetime <= 0:
		return errors.New("--lifetime must be positive")
	}
	for _, name := range append(o.members, o.revoke...) {
		if err := domain.CheckName(name); err != nil {
			return err
		}
	}
	return nil
}

// execute runs the command and returns its exit status: 0 if all went well, 1
// if not, 2 if its flags were wrong.
func execute(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := run(o, stdout); err != nil {
		fmt.Fprintln(stderr, "domain:", err)
		return 1
	}
	return 0
}

// run revokes first, so that a member can get a new certificate for a revoked
// one.
func run(o options, stdout io.Writer) error {
	d, err := domain.Open(o.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if d, err = domain.Create(o.dir, o.name); err == nil {
			fmt.Fprintf(stdout, "Domain: %s (trust anchor %s)\n", o.name, filepath.Join(o.dir, domain.RootsFile))
		}
	}
	if err != nil {
		return err
	}
	for _, name := range o.revoke {
		cert, err := domain.LoadMember(o.dir, name)
		if err != nil {
			return err
		}
		d.Revoke(cert)
	}
	if len(o.revoke) > 0 {
		if err := d.SaveRevoked(o.dir); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "Revoked: %s (%s)\n", strings.Join(o.revoke, ", "), filepath.Join(o.dir, domain.RevokedFile))
	}
	for _, name := range o.members {
		cert, err := d.Issue(name, o.lifetime)
		if err != nil {
			return err
		}
		if err := domain.SaveMember(o.dir, name, cert); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "Member: %s until %s (%s)\n", name, cert.Leaf.NotAfter.Format(time.RFC3339), filepath.Join(o.dir, name+".pem"))
	}
	return nil
}

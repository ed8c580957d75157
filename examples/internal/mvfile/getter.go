package mvfile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// discoveryTime is how long a getter looks for a pusher.
const discoveryTime = 10 * time.Second

// Errors of Get, beside those of the library and the operating system.
var (
	ErrNoPusher = errors.New("nobody found who sends files")
	ErrName     = errors.New("not a name for a file here")
	ErrTooLarge = errors.New("file too large")
	ErrNoChunk  = errors.New("the peer sent something else than a chunk of a file")
)

// Getter gets files and puts them into a directory.
type Getter struct {
	asa      *grasp.ASA
	dir      *os.Root
	set      GetterSettings
	outcomes *cli.Outcomes
}

// GetterSettings are what a getter needs to know.
type GetterSettings struct {
	// Max is the size of the largest file in bytes.
	Max int64
	// Replace has files replaced that are there already.
	Replace bool
}

// NewGetter registers a getter that puts files into a directory.
func NewGetter(g *grasp.Instance, dir *os.Root, set GetterSettings, outcomes *cli.Outcomes) (*Getter, error) {
	a, err := g.RegisterASA("getter")
	if err != nil {
		return nil, err
	}
	if err := a.RegisterObj(objective(), grasp.RegisterOptions{Overlap: true}); err != nil {
		_ = a.Deregister() // the first error is the one to tell
		return nil, err
	}
	return &Getter{asa: a, dir: dir, set: set, outcomes: outcomes}, nil
}

// Close deregisters the getter.
func (g *Getter) Close() error { return g.asa.Deregister() }

// Get gets a file. It is put into the directory under the last part of its
// name, once all of it has come: what does not come to its end leaves nothing
// behind. Get blocks until then, or for at most some seconds while nothing
// comes, or until the context ends.
func (g *Getter) Get(ctx context.Context, name string) error {
	t := &getting{Getter: g, name: name, out: cli.Outcome{ASA: g.asa.Name(), Asked: name}}
	err := t.get(ctx)
	if err != nil {
		t.out.Outcome, t.out.Reason = result(err)
		g.asa.Tprint("Failed:", t.out.Reason)
		err = fmt.Errorf("%s: %w", name, err)
	} else {
		t.out.Outcome, t.out.Value = cli.Agreed, t.bytes
		g.asa.Tprint("Transfer succeeded:", t.bytes, "bytes in", t.local)
	}
	g.outcomes.Add(t.out)
	return err
}

// getting is one transfer.
type getting struct {
	*Getter
	name, local string
	bytes       int64
	out         cli.Outcome
}

func (t *getting) get(ctx context.Context) error {
	// A name of Windows has its parts kept apart otherwise.
	t.local = path.Base(strings.ReplaceAll(t.name, `\`, "/"))
	if t.local == "." || t.local == ".." || t.local == "/" {
		return ErrName
	}
	if err := t.free(); err != nil {
		return err
	}
	s, o, err := t.ask(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := t.receive(ctx, s, o); err != nil {
		_ = s.EndNegotiate(false, reasonOf(err)) // a peer that is gone need not be told
		return err
	}
	return nil
}

// free says that there is no file of that name yet, or none that matters.
func (t *getting) free() error {
	if _, err := t.dir.Lstat(t.local); err == nil && !t.set.Replace {
		return fmt.Errorf("%s: %w", t.local, fs.ErrExist)
	}
	return nil
}

// reasonOf returns what the peer is told of an error.
func reasonOf(err error) string {
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrNoChunk) {
		return err.Error()
	}
	return "Cannot write file"
}

// ask asks a pusher for the file, and another one if what was known of the
// first is out of date.
func (t *getting) ask(ctx context.Context) (*grasp.Session, grasp.Objective, error) {
	var last error
	for _, flush := range []bool{false, true} {
		found, err := t.asa.Discover(ctx, objective(), discoveryTime, grasp.DiscoverOptions{First: true, Flush: flush})
		switch {
		case err != nil:
			return nil, grasp.Objective{}, err
		case len(found) == 0:
			return nil, grasp.Objective{}, errors.Join(ErrNoPusher, last)
		}
		o := objective()
		o.Value = t.name
		t.asa.Tprint("Asking for", t.name, "at", found[0])
		s, o, err := t.asa.ReqNegotiate(ctx, o, &found[0], patience)
		switch {
		case err == nil && s == nil:
			return nil, o, ErrNoChunk // it accepts, but what?
		case !errors.Is(err, grasp.ErrSockErrNegRq):
			return s, o, err
		}
		last = err
	}
	return nil, grasp.Objective{}, last
}

// receive writes the file.
func (t *getting) receive(ctx context.Context, s *grasp.Session, o grasp.Objective) (err error) {
	part := "." + rand.Text() + ".part"
	f, err := t.dir.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close() // the second time, if all went well
		if err != nil {
			_ = t.dir.Remove(part)
		}
	}()
	t.asa.Tprint("Starting transfer")
	for {
		t.out.Steps++
		chunk, err := chunkOf(o)
		switch {
		case err != nil:
			return err
		case len(chunk) == 0:
			return t.finish(s, f, part)
		}
		if t.bytes += int64(len(chunk)); t.bytes > t.set.Max {
			return ErrTooLarge
		}
		if _, err := f.Write(chunk); err != nil {
			return err
		}
		o.Value, o.LoopCount = ack, loopCount
		t.out.Steps++
		next, answer, err := s.NegotiateStep(ctx, o, patience)
		switch {
		case err != nil:
			return err
		case next == nil:
			return ErrNoChunk // it accepts our acknowledgement
		}
		o = answer
	}
}

// finish gives the complete file its name, and says so to the peer.
func (t *getting) finish(s *grasp.Session, f *os.File, part string) error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := t.free(); err != nil { // it may have come meanwhile
		return err
	}
	if err := t.dir.Rename(part, t.local); err != nil {
		return err
	}
	if err := s.EndNegotiate(true, ""); err != nil {
		t.asa.Tprint("end_negotiate error:", grasp.Code(err)) // it is the peer's loss
	}
	return nil
}

// chunkOf returns the chunk in a step. Those that begin like CBOR the prototype
// sends as encoded CBOR, whatever comes after that.
func chunkOf(o grasp.Objective) ([]byte, error) {
	if chunk, ok := o.Value.([]byte); ok {
		return chunk, nil
	}
	var encoded grasp.EncodedCBOR
	if err := o.Decode(&encoded); err != nil {
		return nil, ErrNoChunk
	}
	return encoded, nil
}

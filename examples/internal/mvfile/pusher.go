package mvfile

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// maxTransfers bounds the files that are sent at the same time. More requests
// than that wait in the library's queue, and are refused when it is full.
const maxTransfers = 100

// The reasons that a pusher has for declining.
const (
	invalidRequest = "Invalid request"
	noDryRun       = "Dry run not supported"
	notFound       = "File not found"
	notAllowed     = "Permission denied"
	notRegular     = "Not a regular file"
	outside        = "Not in the directory that is served"
	readError      = "Read error"
	unexpected     = "Unexpected reply"
)

// Pusher sends the files below a directory to whoever asks for them.
type Pusher struct {
	asa      *grasp.ASA
	dir      *os.Root
	outcomes *cli.Outcomes
}

// NewPusher registers a pusher of the files below a directory.
func NewPusher(g *grasp.Instance, dir *os.Root, outcomes *cli.Outcomes) (*Pusher, error) {
	a, err := g.RegisterASA("pusher")
	if err != nil {
		return nil, err
	}
	if err := a.RegisterObj(objective(), grasp.RegisterOptions{Overlap: true}); err != nil {
		_ = a.Deregister() // the first error is the one to tell
		return nil, err
	}
	return &Pusher{asa: a, dir: dir, outcomes: outcomes}, nil
}

// Run sends files until the context ends; then it deregisters the pusher.
// Transfers under way are broken off. It is called once.
func (p *Pusher) Run(ctx context.Context) error {
	defer func() {
		p.asa.Tprint(p.outcomes.Summary(p.asa.Name()))
		p.asa.Tprint("ASA exiting")
		_ = p.asa.Deregister() // fails only if the instance was closed before
	}()
	p.asa.Tprint("Sending files from", p.dir.Name())
	return cli.Serve(ctx, p.asa, objective(), maxTransfers, p.serve)
}

// sending is one transfer.
type sending struct {
	asa     *grasp.ASA
	session *grasp.Session
	tag24   bool // values are sent as encoded CBOR
	bytes   int64
	out     cli.Outcome
}

// serve sends the file that a peer asks for.
func (p *Pusher) serve(ctx context.Context, s *grasp.Session, o grasp.Objective) {
	t := &sending{asa: p.asa, session: s, out: cli.Outcome{ASA: p.asa.Name()}}
	defer func() {
		if t.out.Outcome != cli.Agreed {
			p.asa.Tprint("Failed:", t.out.Reason)
		}
		p.outcomes.Add(t.out)
	}()
	var name string
	_, t.tag24 = o.Value.(grasp.EncodedCBOR)
	if err := o.Decode(&name); err != nil || name == "" {
		t.decline(invalidRequest)
		return
	}
	t.out.Asked = name
	p.asa.Tprint("Got request for", name, "from", s.Source().Addr())
	if o.Dry {
		t.decline(noDryRun)
		return
	}
	f, reason := p.open(name)
	if f == nil {
		t.decline(reason)
		return
	}
	defer f.Close()
	p.asa.Tprint("Starting transfer")
	if t.send(ctx, f, o) {
		t.out.Outcome, t.out.Value = cli.Agreed, t.bytes
		p.asa.Tprint("Ended transfer of", name, "with", t.bytes, "bytes")
	}
}

// open opens a file below the directory, or says why not. What is no file is
// not opened at all: that alone could do something.
func (p *Pusher) open(name string) (f *os.File, reason string) {
	info, err := p.dir.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, notRegular
	}
	if err == nil {
		f, err = p.dir.Open(name)
	}
	switch {
	case err == nil:
		return f, ""
	case errors.Is(err, fs.ErrNotExist):
		return nil, notFound
	case errors.Is(err, fs.ErrPermission):
		return nil, notAllowed
	}
	p.asa.Ttprint(err)
	return nil, outside
}

// send sends chunks until the peer has got the empty one and accepts.
func (t *sending) send(ctx context.Context, f io.Reader, o grasp.Objective) bool {
	chunk := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(f, chunk)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.decline(readError)
			return false
		}
		if err := t.put(&o, chunk[:n]); err != nil {
			t.decline(err.Error())
			return false
		}
		t.out.Steps++
		next, answer, err := t.session.NegotiateStep(ctx, o, patience)
		switch {
		case err != nil:
			t.fail(err)
			return false
		case next == nil && n == 0:
			return true
		case next == nil:
			t.out.Outcome, t.out.Reason = cli.Failed, unexpected // an end before the end
			return false
		}
		t.out.Steps++
		t.bytes += int64(n)
		o = answer
		var said string
		if err := o.Decode(&said); err != nil || said != ack || n == 0 {
			t.decline(unexpected)
			return false
		}
	}
}

// put makes a chunk the value of the next step.
func (t *sending) put(into *grasp.Objective, chunk []byte) (err error) {
	into.LoopCount = loopCount
	into.Value = chunk
	if t.tag24 {
		into.Value, err = grasp.Encode(chunk)
	}
	return err
}

func (t *sending) decline(reason string) {
	t.out.Outcome, t.out.Reason = cli.Declined, reason
	_ = t.session.EndNegotiate(false, reason) // a peer that is gone need not be told
}

// fail is the end by an error: the peer declined, or something went wrong.
func (t *sending) fail(err error) {
	t.asa.Ttprint(err)
	t.out.Outcome, t.out.Reason = result(err)
}

// result returns what an error is as an outcome.
func result(err error) (cli.Result, string) {
	var declined *grasp.DeclinedError
	if errors.As(err, &declined) && declined.Reason != "" {
		return cli.Declined, declined.Reason
	}
	return cli.Failed, err.Error()
}

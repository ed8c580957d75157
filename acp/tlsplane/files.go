package tlsplane

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// FileNames are the files that [LoadFiles] reads, all in PEM. They may be
// changed or replaced at any time.
type FileNames struct {
	// Certificate holds this node's certificate, and then those that lead from
	// it to an anchor. Key is its key, of any kind that crypto/tls knows.
	Certificate, Key string
	// Roots holds the domain's trust anchors.
	Roots string
	// Revoked holds lists of revoked certificates (X.509 CRLs), each signed by
	// who issued them. "" means that none is.
	Revoked string
}

// InDir returns the names of a member's files in a directory, as the command in
// examples/domain makes them: NAME.pem, NAME.key, roots.pem and revoked.pem.
func InDir(dir, name string) FileNames {
	return FileNames{
		Certificate: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key"),
		Roots: filepath.Join(dir, "roots.pem"), Revoked: filepath.Join(dir, "revoked.pem"),
	}
}

// Files are [Credentials] in files. They are looked at again when they are
// asked for, once a second at most, and read again when one has changed. If
// they cannot be read then, or do not fit together, those read last stay in
// use: a certificate and its key cannot be replaced in one step. See
// [Files.Err].
//
// A list of revoked certificates is heeded even when the next one is overdue.
type Files struct {
	names   FileNames
	log     *slog.Logger
	loaded  atomic.Pointer[loaded]
	err     atomic.Pointer[error]
	looking atomic.Bool
	lookAt  atomic.Pointer[time.Time] // when to look again
}

// loaded is what the files hold.
type loaded struct {
	stamps []os.FileInfo
	cert   tls.Certificate
	roots  *x509.CertPool
	lists  []revocationList
}

// lookTime is the least time between two looks at the files.
const lookTime = time.Second

// LoadFiles reads credentials. The logger is told of what goes wrong later; nil
// means silence.
func LoadFiles(names FileNames, log *slog.Logger) (*Files, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Files{names: names, log: log}
	l, err := names.load()
	if err != nil {
		return nil, fmt.Errorf("tlsplane: %w", err)
	}
	f.loaded.Store(l)
	f.putOff(time.Now())
	return f, nil
}

// Err returns why the files could not be read again, or nil.
func (f *Files) Err() error {
	f.current()
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Certificate implements [Credentials].
func (f *Files) Certificate() (*tls.Certificate, error) { return &f.current().cert, nil }

// Roots implements [Credentials].
func (f *Files) Roots() (*x509.CertPool, error) { return f.current().roots, nil }

// Revoked implements [Credentials].
func (f *Files) Revoked(chain []*x509.Certificate) error {
	for _, list := range f.current().lists {
		if err := list.check(chain); err != nil {
			return err
		}
	}
	return nil
}

// current returns what is in use, after a look at the files if it is time.
// While one caller looks, the others do not wait for it.
func (f *Files) current() *loaded {
	now := time.Now()
	if now.Before(*f.lookAt.Load()) || !f.looking.CompareAndSwap(false, true) {
		return f.loaded.Load()
	}
	defer f.looking.Store(false)
	f.putOff(now)
	if stamps, err := f.names.stamps(); err == nil && same(stamps, f.loaded.Load().stamps) {
		f.err.Store(nil)
		return f.loaded.Load()
	}
	l, err := f.names.load()
	if err != nil {
		if old := f.err.Swap(&err); old == nil || (*old).Error() != err.Error() {
			f.log.Error("credentials cannot be read again: the old ones stay in use", "error", err)
		}
		return f.loaded.Load()
	}
	f.log.Info("credentials were read again")
	f.err.Store(nil)
	f.loaded.Store(l)
	return l
}

// putOff has the files not be looked at for a while. The time is kept as it is, not
// in Unix nanoseconds: the clock may be set back.
func (f *Files) putOff(now time.Time) {
	then := now.Add(lookTime)
	f.lookAt.Store(&then)
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}

func (n FileNames) all() []string {
	names := []string{n.Certificate, n.Key, n.Roots}
	if n.Revoked != "" {
		names = append(names, n.Revoked)
	}
	return names
}

func (n FileNames) stamps() ([]os.FileInfo, error) {
	var stamps []os.FileInfo
	for _, name := range n.all() {
		s, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		stamps = append(stamps, s)
	}
	return stamps, nil
}

// load reads the files. They are stamped first: what changes meanwhile is read
// again.
func (n FileNames) load() (*loaded, error) {
	stamps, err := n.stamps()
	if err != nil {
		return nil, err
	}
	l := &loaded{stamps: stamps, roots: x509.NewCertPool()}
	if l.cert, err = tls.LoadX509KeyPair(n.Certificate, n.Key); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", n.Certificate, n.Key, err)
	}
	raw, err := os.ReadFile(n.Roots)
	if err != nil {
		return nil, err
	}
	if err := l.addRoots(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Roots, err)
	}
	if n.Revoked == "" {
		return l, nil
	}
	if raw, err = os.ReadFile(n.Revoked); err != nil {
		return nil, err
	}
	if l.lists, err = parseLists(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Revoked, err)
	}
	return l, nil
}

// addRoots adds the trust anchors of a file.
func (l *loaded) addRoots(raw []byte) error {
	found := false
	err := eachBlock(raw, func(b *pem.Block) error {
		if b.Type != "CERTIFICATE" {
			return nil
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return err
		}
		l.roots.AddCert(c)
		found = true
		return nil
	})
	if err == nil && !found {
		err = errNoRoots
	}
	return err
}

// eachBlock calls f for each PEM block of a file, which may have other text between
// them. A block that is cut or damaged is an error, such as while a file is being
// written: an anchor or a list would be missing otherwise, and nobody told.
func eachBlock(raw []byte, f func(*pem.Block) error) error {
	begun := bytes.Count(raw, []byte("-----BEGIN "))
	for n := 0; ; n++ {
		block, rest := pem.Decode(raw)
		if block == nil && n < begun {
			return fmt.Errorf("of %d PEM blocks %d are cut or damaged", begun, begun-n)
		}
		if block == nil {
			return nil
		}
		if err := f(block); err != nil {
			return err
		}
		raw = rest
	}
}

// revocationList is a list of revoked certificates.
type revocationList struct {
	*x509.RevocationList
	serials map[string]x509.RevocationListEntry
}

func parseLists(raw []byte) ([]revocationList, error) {
	var lists []revocationList
	err := eachBlock(raw, func(b *pem.Block) error {
		list, err := x509.ParseRevocationList(b.Bytes)
		if err != nil {
			return err
		}
		l := revocationList{list, make(map[string]x509.RevocationListEntry)}
		for _, e := range list.RevokedCertificateEntries {
			l.serials[e.SerialNumber.String()] = e
		}
		lists = append(lists, l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(lists) == 0 {
		return nil, errors.New("no list of revoked certificates")
	}
	return lists, nil
}

// check says which certificate of a chain is on the list, if its issuer has
// signed the list.
func (l revocationList) check(chain []*x509.Certificate) error {
	for i, c := range chain[:len(chain)-1] {
		e, listed := l.serials[c.SerialNumber.String()]
		if listed && l.CheckSignatureFrom(chain[i+1]) == nil {
			return fmt.Errorf("the certificate %v of %s was revoked at %v", c.SerialNumber, c.Subject, e.RevocationTime.UTC())
		}
	}
	return nil
}

package tlsplane_test

import (
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/output"
)

// saveMember makes a member's files in a directory.
func saveMember(t *testing.T, d *domain.Domain, dir, name string) *x509.Certificate {
	t.Helper()
	cert := issue(t, d, name)
	require.NoError(t, domain.SaveMember(dir, name, cert))
	return cert.Leaf
}

// Credentials in files are read again when they change, and the plane follows:
// a renewed certificate, a member that is revoked, a file that is broken.
func TestFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "domain")
		d, err := domain.Create(dir, "testers")
		require.NoError(t, err)
		saveMember(t, d, dir, "one")
		two := saveMember(t, d, dir, "two")

		var out output.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		n := memory.NewNetwork(1)
		link := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		start := func(name string) (*tlsplane.Files, *node) {
			f, err := tlsplane.LoadFiles(tlsplane.InDir(dir, name), log)
			require.NoError(t, err)
			p := &tlsplane.Plane{Underlay: n.NewNode(name, link), Credentials: f}
			return f, &node{Plane: p, member: join(t, p)}
		}
		files, a := start("one")
		_, b := start("two")
		settle()
		require.Equal(t, []string{"two"}, identities(a.Plane))
		before := a.Status().Reason
		dialed, accepted := dial(t, a, b)

		time.Sleep(10 * time.Minute)
		saveMember(t, d, dir, "one")
		time.Sleep(10 * time.Second)
		assert.NotEqual(t, before, a.Status().Reason, "valid for longer")
		say(t, dialed, accepted, "as before")

		// A certificate without its key, for a while.
		key, err := os.ReadFile(filepath.Join(dir, "one.key"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "one.key"), []byte("half a k"), 0o600))
		time.Sleep(10 * time.Second)
		require.ErrorContains(t, files.Err(), "one.key")
		assert.True(t, a.Status().Secure)
		assert.Contains(t, out.String(), "cannot be read again")
		require.NoError(t, os.Remove(filepath.Join(dir, "one.key")))
		time.Sleep(10 * time.Second)
		require.ErrorIs(t, files.Err(), os.ErrNotExist)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "one.key"), key, 0o600))
		time.Sleep(10 * time.Second)
		require.NoError(t, files.Err())
		say(t, dialed, accepted, "as before")
		assert.Equal(t, []string{"two"}, identities(a.Plane))

		d, err = domain.Open(dir) // as another process would
		require.NoError(t, err)
		d.Revoke(two)
		require.NoError(t, d.SaveRevoked(dir))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Empty(t, identities(a.Plane))
		ended := a.Stats().Expelled[tlsplane.ReasonRevoked] + b.Stats().Expelled[tlsplane.ReasonOwn]
		assert.GreaterOrEqual(t, ended, uint64(2), "the neighbour and the stream, by either side")
		assert.Contains(t, b.Status().Reason, "revoked", "it reads the same list")
	})
}

// Of several anchors or lists, none is left out because it is cut, such as while the file
// is being written, or damaged.
func TestFilesCut(t *testing.T) {
	dir, dir2 := filepath.Join(t.TempDir(), "domain"), filepath.Join(t.TempDir(), "other")
	d, err := domain.Create(dir, "testers")
	require.NoError(t, err)
	saveMember(t, d, dir, "one")
	_, err = domain.Create(dir2, "others")
	require.NoError(t, err)
	names, other := tlsplane.InDir(dir, "one"), tlsplane.InDir(dir2, "one")
	for file, second := range map[string]string{names.Roots: other.Roots, names.Revoked: other.Revoked} {
		one, err := os.ReadFile(file)
		require.NoError(t, err)
		two, err := os.ReadFile(second)
		require.NoError(t, err)
		load := func(text []byte) error {
			require.NoError(t, os.WriteFile(file, text, 0o600))
			_, err := tlsplane.LoadFiles(names, nil)
			return err
		}
		require.NoError(t, load(slices.Concat([]byte("# the first\n"), one, []byte("# the second\n"), two)))
		for _, n := range []int{len(two) - 5, len(two) / 2, 20} {
			require.ErrorContains(t, load(slices.Concat(one, two[:n])), filepath.Base(file)+": of 2 PEM blocks 1 are cut", "%d bytes", n)
		}
		require.ErrorContains(t, load(slices.Concat(two[:len(two)/2], []byte("\n"), one)), "of 2 PEM blocks 1 are cut")
		require.NoError(t, load(one))
	}
}

func TestLoadFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "domain")
	d, err := domain.Create(dir, "testers")
	require.NoError(t, err)
	one := saveMember(t, d, dir, "one")
	names := tlsplane.InDir(dir, "one")
	f, err := tlsplane.LoadFiles(names, nil)
	require.NoError(t, err)
	cert, err := f.Certificate()
	require.NoError(t, err)
	assert.Equal(t, one.Raw, cert.Certificate[0])

	// A list that somebody else has signed means nothing.
	other := newDomain(t, "testers")
	other.Revoke(one)
	require.NoError(t, other.SaveRevoked(dir))
	f, err = tlsplane.LoadFiles(names, nil)
	require.NoError(t, err)
	chains, err := one.Verify(x509.VerifyOptions{Roots: d.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	require.NoError(t, err)
	require.NoError(t, f.Revoked(chains[0]))
	d.Revoke(one)
	d.Revoke(one)
	require.NoError(t, d.SaveRevoked(dir))
	f, err = tlsplane.LoadFiles(names, nil)
	require.NoError(t, err)
	require.ErrorContains(t, f.Revoked(chains[0]), "CN=one was revoked at")

	withoutList := names
	withoutList.Revoked = ""
	f, err = tlsplane.LoadFiles(withoutList, nil)
	require.NoError(t, err)
	require.NoError(t, f.Revoked(chains[0]))

	for _, file := range []string{names.Certificate, names.Key, names.Roots, names.Revoked} {
		good, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, bad := range []string{"", "no PEM", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"} {
			require.NoError(t, os.WriteFile(file, []byte(bad), 0o600))
			_, err = tlsplane.LoadFiles(names, nil)
			require.ErrorContains(t, err, filepath.Base(file), "%q", bad)
		}
		require.NoError(t, os.Remove(file))
		_, err = tlsplane.LoadFiles(names, nil)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.NoError(t, os.WriteFile(file, good, 0o600))
	}
	_, err = tlsplane.LoadFiles(names, nil)
	require.NoError(t, err)
}

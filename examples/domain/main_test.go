package main

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
)

// command executes the command and returns its exit status and what it wrote.
func command(args ...string) (status int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	status = execute(args, &out, &errOut)
	return status, out.String(), errOut.String()
}

// load returns the plane that a member has, and its certificate.
func load(t *testing.T, dir, name string) (*tlsplane.Plane, *x509.Certificate) {
	t.Helper()
	files, err := tlsplane.LoadFiles(tlsplane.InDir(dir, name), nil)
	require.NoError(t, err)
	cert, err := files.Certificate()
	require.NoError(t, err)
	return &tlsplane.Plane{Underlay: memory.NewNetwork(1).NewNode(name), Credentials: files}, cert.Leaf
}

func TestVersion(t *testing.T) {
	status, stdout, _ := command("--version")
	assert.Zero(t, status)
	assert.Regexp(t, `^domain \S`, stdout)
}

func TestDomain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "d")
	status, stdout, stderr := command("-dir", dir, "-members", "briggs,gray")
	require.Zero(t, status, stderr)
	for _, text := range []string{"Domain: a test domain", "Member: briggs until", "Member: gray until"} {
		assert.Contains(t, stdout, text)
	}
	for _, name := range []string{"briggs", "gray"} {
		p, cert := load(t, dir, name)
		assert.True(t, p.Status().Secure, p.Status().Reason)
		assert.WithinDuration(t, time.Now().Add(365*24*time.Hour), cert.NotAfter, time.Minute)
		if runtime.GOOS != "windows" {
			info, err := os.Stat(filepath.Join(dir, name+".key"))
			require.NoError(t, err)
			assert.EqualValues(t, 0o600, info.Mode().Perm())
		}
	}

	// Later: a short-lived newcomer, and gray is revoked.
	_, before := load(t, dir, "briggs")
	status, stdout, stderr = command("-dir", dir, "-members", "guest", "-lifetime", "10m", "-revoke", "gray")
	require.Zero(t, status, stderr)
	assert.NotContains(t, stdout, "Domain:")
	assert.Contains(t, stdout, "Revoked: gray")
	_, guest := load(t, dir, "guest")
	assert.WithinDuration(t, time.Now().Add(10*time.Minute), guest.NotAfter, time.Minute)
	p, old := load(t, dir, "gray")
	assert.False(t, p.Status().Secure)
	assert.Contains(t, p.Status().Reason, "revoked")
	p, after := load(t, dir, "briggs")
	assert.True(t, p.Status().Secure)
	assert.Equal(t, before, after)

	// gray comes back with another certificate; the old one stays revoked.
	status, _, stderr = command("-dir", dir, "-revoke", "briggs", "-members", "gray")
	require.Zero(t, status, stderr)
	p, renewed := load(t, dir, "gray")
	assert.True(t, p.Status().Secure)
	assert.NotEqual(t, old.SerialNumber, renewed.SerialNumber)
	chain := []*x509.Certificate{old, roots(t, dir)}
	assert.Error(t, p.Credentials.Revoked(chain))
	p, _ = load(t, dir, "briggs")
	assert.False(t, p.Status().Secure)
}

func roots(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "roots.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(raw))
	_, cert := load(t, dir, "guest")
	chains, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	require.NoError(t, err)
	return chains[0][1]
}

func TestDomainMistakes(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{
		"", "-dir", "-members a", "-dir D more", "-dir D -lifetime 0", "-dir D -lifetime x", "-dir D -members a,,b",
		"-dir D -members ../a", "-dir D -members roots", "-dir D -members .a", "-dir D -revoke revoked", "-x",
	} {
		status, stdout, stderr := command(strings.Fields(strings.ReplaceAll(args, "D", dir))...)
		assert.Equal(t, 2, status, args)
		assert.Empty(t, stdout)
		assert.NotEmpty(t, stderr)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "nothing was made")

	status, _, stderr := command("-dir", dir, "-revoke", "nobody")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "nobody.pem")
	require.NoError(t, os.Remove(filepath.Join(dir, "roots.key")))
	status, _, stderr = command("-dir", dir, "-members", "a")
	assert.Equal(t, 1, status, "the anchor is not replaced")
	assert.Contains(t, stderr, "there is a domain already")
	status, stdout, _ := command("-h")
	assert.Zero(t, status)
	assert.Contains(t, stdout, "--lifetime D")
}

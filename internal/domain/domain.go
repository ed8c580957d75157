// Package domain makes the certificates of a domain to try things in: a trust
// anchor, members, and a list of those that are revoked. It is for tests and
// examples: the anchor's key lies where the members' keys do.
package domain

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Domain is a trust anchor that issues certificates and revokes them, or a CA below
// one. Its methods must not be called concurrently.
type Domain struct {
	root    *x509.Certificate
	key     crypto.Signer       // of the last of cas, or of root
	cas     []*x509.Certificate // between root and members, in this order
	revoked []x509.RevocationListEntry
	number  *big.Int // of the last revocation list
}

// backdate is how long ago certificates begin, for clocks that are behind.
const backdate = time.Hour

// rootLifetime is that of an anchor.
const rootLifetime = 10 * 365 * 24 * time.Hour

// New makes a domain.
func New(name string) (*Domain, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return NewWithKey(name, key)
}

// NewWithKey makes a domain whose anchor has a certain key.
func NewWithKey(name string, key crypto.Signer) (*Domain, error) {
	t := authority(name)
	root, err := sign(t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Domain{root: root, key: key, number: new(big.Int)}, nil
}

// Below makes a CA that the domain, or the CA, certifies. Those to whom it issues have its
// certificate, too.
func (d *Domain) Below(name string, key crypto.Signer) (*Domain, error) {
	ca, err := sign(authority(name), d.issuer(), key.Public(), d.key)
	if err != nil {
		return nil, err
	}
	return &Domain{root: d.root, key: key, cas: append(slices.Clone(d.cas), ca), number: new(big.Int)}, nil
}

// authority returns what the certificate of an anchor, or of a CA, says.
func authority(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign makes a certificate of what is to be in it.
func sign(t, issuer *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// issuer returns who issues: the anchor, or the last CA below it.
func (d *Domain) issuer() *x509.Certificate {
	if len(d.cas) == 0 {
		return d.root
	}
	return d.cas[len(d.cas)-1]
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// Roots returns the domain's trust anchor.
func (d *Domain) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	d.AddTo(pool)
	return pool
}

// Root returns the domain's trust anchor, as all members know it.
func (d *Domain) Root() *x509.Certificate { return d.root }

// AddTo adds the domain's trust anchor to others.
func (d *Domain) AddTo(pool *x509.CertPool) { pool.AddCert(d.root) }

// Issue issues a certificate for a member, from an hour ago until a lifetime
// from now. Edits change what is in it.
func (d *Domain) Issue(name string, lifetime time.Duration, edits ...func(*x509.Certificate)) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	return d.IssueFor(key, name, lifetime, edits...)
}

// IssueFor is [Domain.Issue] for a member that has a key.
func (d *Domain) IssueFor(key crypto.Signer, name string, lifetime time.Duration, edits ...func(*x509.Certificate)) (tls.Certificate, error) {
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, edit := range edits {
		edit(t)
	}
	leaf, err := sign(t, d.issuer(), key.Public(), d.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %q: %w", name, err)
	}
	cert := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, ca := range slices.Backward(d.cas) {
		cert.Certificate = append(cert.Certificate, ca.Raw)
	}
	return cert, nil
}

// Revoke puts a certificate on the list of those that are revoked.
func (d *Domain) Revoke(c *x509.Certificate) {
	same := func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.SerialNumber) == 0 }
	if !slices.ContainsFunc(d.revoked, same) {
		d.revoked = append(d.revoked, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
}

// listLifetime is when the next list is due, for those who care.
const listLifetime = 365 * 24 * time.Hour

// RevocationList returns the list of revoked certificates, signed, in DER.
func (d *Domain) RevocationList() ([]byte, error) {
	d.number = new(big.Int).Add(d.number, big.NewInt(1))
	now := time.Now()
	return x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: d.number, ThisUpdate: now, NextUpdate: now.Add(listLifetime), RevokedCertificateEntries: d.revoked,
	}, d.issuer(), d.key)
}

// Package domain makes the certificates of a domain to try things in: a trust
// anchor, members, and a list of those that are revoked. It is for tests and
// examples: the anchor's key lies where the members' keys do.
package domain

import (
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

// Domain is a trust anchor that issues certificates and revokes them. Its
// methods must not be called concurrently.
type Domain struct {
	root    *x509.Certificate
	key     *ecdsa.PrivateKey
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
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Domain{root: root, key: key, number: new(big.Int)}, nil
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
	der, err := x509.CreateCertificate(rand.Reader, t, d.root, key.Public(), d.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %q: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate for %q: %w", name, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
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
	}, d.root, d.key)
}

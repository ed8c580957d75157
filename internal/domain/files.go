package domain

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The files of a domain in its directory. Members have theirs beside them:
// NAME.pem and NAME.key.
const (
	RootsFile   = "roots.pem"
	RevokedFile = "revoked.pem"
	keyFile     = "roots.key"
)

// The types of PEM blocks.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
	pemList        = "X509 CRL"
)

// Create makes a domain in a directory, which is made if need be. It fails if
// there is one already.
func Create(dir, name string) (*Domain, error) {
	if _, err := os.Stat(filepath.Join(dir, RootsFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is a domain already: %w", dir, errors.Join(err, fs.ErrExist))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	d, err := New(name)
	if err != nil {
		return nil, err
	}
	if err := writePair(dir, "roots", d.root.Raw, d.key); err != nil {
		return nil, err
	}
	return d, d.SaveRevoked(dir)
}

// Open opens a domain that Create has made.
func Open(dir string) (*Domain, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, RootsFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: a %T, and not a key that Create makes", filepath.Join(dir, keyFile), pair.PrivateKey)
	}
	raw, err := os.ReadFile(filepath.Join(dir, RevokedFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", filepath.Join(dir, RevokedFile))
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, RevokedFile), err)
	}
	return &Domain{root: pair.Leaf, key: key, revoked: list.RevokedCertificateEntries, number: list.Number}, nil
}

// SaveMember writes a member's certificate and key, over those it had.
func SaveMember(dir, name string, cert tls.Certificate) error {
	if err := CheckName(name); err != nil {
		return err
	}
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || len(cert.Certificate) != 1 {
		return fmt.Errorf("%q: a %T and %d certificates, and not what Issue makes in a domain from Create", name, cert.PrivateKey, len(cert.Certificate))
	}
	return writePair(dir, name, cert.Certificate[0], key)
}

// CheckName refuses names that cannot be those of members' files.
func CheckName(name string) error {
	if name == "" || name == "roots" || name == "revoked" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, `/\:`) {
		return fmt.Errorf("%q cannot be the name of a member", name)
	}
	return nil
}

// LoadMember reads the certificate of a member.
func LoadMember(dir, name string) (*x509.Certificate, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	return pair.Leaf, err
}

// SaveRevoked writes the list of revoked certificates.
func (d *Domain) SaveRevoked(dir string) error {
	der, err := d.RevocationList()
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, RevokedFile), pemList, der, 0o644)
}

// writePair writes the key first: who reloads both will find a pair at the end.
func writePair(dir, name string, der []byte, key crypto.Signer) error {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, name+".key"), pemKey, raw, 0o600); err != nil {
		return err
	}
	return replace(filepath.Join(dir, name+".pem"), pemCertificate, der, 0o644)
}

// replace writes a file in one step: nobody sees half of it.
func replace(name, kind string, der []byte, mode os.FileMode) error {
	tmp := name + ".new"
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

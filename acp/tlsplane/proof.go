package tlsplane

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// An announcement may prove that it comes from a member. In the value of AN_ACP
// the proof follows the name of the method: a signature of the address, the
// port and the time, and the certificates of who signed, encrypted under a key
// that is made of the domain's trust anchor. So a listener who does not know
// the anchor learns no name, and a forger who does not know it has not even a
// signature checked. A proof that does not fit the packet goes in parts.

// Bounds on proofs.
const (
	proofTime  = 15 * time.Minute // between the clocks of two members
	proofCerts = 4                // of a chain
	proofBits  = 4096             // of an RSA key
	maxAnchors = 16               // of which keys are kept
)

// proof is what is encrypted.
type proof struct {
	_         struct{} `cbor:",toarray"`
	Time      int64    // Unix time in milliseconds
	Signature []byte
	Chain     [][]byte // in DER, the member's first
}

// statement returns what is signed.
func statement(to netip.AddrPort, at time.Time) []byte {
	return binary.BigEndian.AppendUint64(place("GRASP-TLS announcement", to), uint64(at.UnixMilli()))
}

// place returns an address and port as what is said of them, whatever the link.
func place(what string, to netip.AddrPort) []byte {
	b := append([]byte(what+"\x00"), to.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, to.Port())
}

// anchorID tells anchors apart.
type anchorID [8]byte

// anchorKey encrypts proofs for those who know a trust anchor.
type anchorKey struct {
	id   anchorID
	aead cipher.AEAD
}

func newAnchorKey(anchor *x509.Certificate) (*anchorKey, error) {
	secret, err := hkdf.Key(sha256.New, anchor.RawSubjectPublicKeyInfo, nil, "GRASP-TLS announcement", len(anchorID{})+32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret[len(anchorID{}):])
	if err != nil {
		return nil, err
	}
	k := &anchorKey{id: anchorID(secret[:len(anchorID{})])}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

// anchors are those to which the certificates lead that were verified. A pool
// of certificates does not tell which it has.
type anchors struct {
	mu   sync.Mutex // guards all following fields
	keys map[anchorID]*anchorKey
	seen map[[sha256.Size]byte]*anchorKey // by certificate
}

// learn returns the key of an anchor.
func (a *anchors) learn(anchor *x509.Certificate) (*anchorKey, error) {
	sum := sha256.Sum256(anchor.Raw)
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.seen[sum]; k != nil {
		return k, nil
	}
	k, err := newAnchorKey(anchor)
	if err != nil {
		return nil, err
	}
	if a.seen == nil || len(a.seen) >= maxAnchors { // the old ones are learned again if they are in use
		a.keys, a.seen = make(map[anchorID]*anchorKey), make(map[[sha256.Size]byte]*anchorKey)
	}
	a.keys[k.id], a.seen[sum] = k, k
	return k, nil
}

func (a *anchors) find(id anchorID) *anchorKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.keys[id]
}

// prove returns a proof that a member is found at an address, which is still to be
// encrypted.
func prove(cert *tls.Certificate, to netip.AddrPort, now time.Time) ([]byte, error) {
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T does not sign", cert.PrivateKey)
	}
	_, opts, err := scheme(signer.Public())
	if err != nil {
		return nil, err
	}
	p := proof{Time: now.UnixMilli(), Chain: cert.Certificate}
	if p.Signature, err = crypto.SignMessage(signer, rand.Reader, statement(to, now), opts); err != nil {
		return nil, err
	}
	return cbor.Marshal(p)
}

// seal encrypts a proof, or a part of one that is about something.
func (k *anchorKey) seal(plain, about []byte) []byte {
	return k.aead.Seal(k.id[:], nil, plain, about)
}

// scheme returns how a key signs. Keys that take long to check a signature with
// are no good for announcements, of which there can be many.
func scheme(public crypto.PublicKey) (x509.SignatureAlgorithm, crypto.SignerOpts, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return x509.ECDSAWithSHA256, crypto.SHA256, nil
		}
	case *rsa.PublicKey:
		if k.N.BitLen() <= proofBits {
			return x509.SHA256WithRSAPSS, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}, nil
		}
	case ed25519.PublicKey:
		return x509.PureEd25519, crypto.Hash(0), nil
	}
	return 0, nil, fmt.Errorf("a key of type %T, or of its size, signs no announcement", public)
}

// decrypt undoes what seal did, if this node knows the anchor.
func (a *anchors) decrypt(sealed, about []byte) (plain []byte, ok bool) {
	if len(sealed) < len(anchorID{}) {
		return nil, false
	}
	key := a.find(anchorID(sealed))
	if key == nil {
		return nil, false
	}
	plain, err := key.aead.Open(nil, nil, sealed[len(anchorID{}):], about)
	return plain, err == nil
}

// open decrypts a proof. It returns false if there is none for this node, or it
// was not made by somebody who knows the anchor.
func (a *anchors) open(sealed []byte) (p proof, ok bool) {
	plain, ok := a.decrypt(sealed, nil)
	return p, ok && cbor.Unmarshal(plain, &p) == nil
}

var (
	errNoChain = errors.New("too few or too many certificates")
	errStale   = errors.New("not of now")
)

// checkCost is what a check may cost that involves a key, in units of
// checkTime.
func checkCost(public crypto.PublicKey) int {
	if k, ok := public.(*ecdsa.PublicKey); ok && k.Curve != elliptic.P256() {
		return 8
	}
	return 1
}

// costOf is what the check of a proof may cost. Time that was measured would
// depend on what else the machine does.
func costOf(claim proof) (cost int) {
	for _, der := range claim.Chain {
		if c, err := x509.ParseCertificate(der); err == nil {
			cost += checkCost(c.PublicKey)
		}
	}
	return max(cost, 1)
}

// check says who has proven to be found at an address, and when.
func (p *Plane) check(claim proof, to netip.AddrPort, now time.Time) (identity string, at time.Time, err error) {
	at = time.UnixMilli(claim.Time)
	if d := now.Sub(at); d > proofTime || d < -proofTime {
		return "", at, errStale
	}
	if len(claim.Chain) == 0 || len(claim.Chain) > proofCerts {
		return "", at, errNoChain
	}
	var chain []*x509.Certificate
	for _, der := range claim.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return "", at, err
		}
		if _, _, err := scheme(c.PublicKey); err != nil {
			return "", at, err
		}
		chain = append(chain, c)
	}
	_, roots, err := p.own()
	if err != nil {
		return "", at, err
	}
	who, err := p.verify(chain, roots, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return "", at, err
	}
	algorithm, _, err := scheme(chain[0].PublicKey)
	if err != nil {
		return "", at, err
	}
	return who.identity, at, chain[0].CheckSignature(algorithm, statement(to, at), claim.Signature)
}

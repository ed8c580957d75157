// Package quads is the plane by which nodes meet the protected domains of the
// Python prototype: "quick and dirty secrecy" under a password.
package quads

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/wire"
)

// Plane is the plane of "quick and dirty secrecy", by which nodes meet the
// Python prototype's protected domains: all that goes over another plane,
// multicasts and streams, is encrypted under one key for the whole domain.
//
// It keeps outsiders from reading and from taking part. That is all:
//
//   - Whoever knows the password is a member, and can read everything and
//     speak for every other. There are no identities and nobody can be
//     expelled, but by a new password for all the others.
//   - There is no integrity: an outsider can damage what is under way so that
//     other CBOR comes out, without knowing which.
//   - There is no protection from replays: what was recorded can be sent
//     again, at any time, to anybody.
//   - An active attacker on the link can use members to learn what recorded
//     messages say, without the password: whether a node answers an altered
//     message tells whether its padding was right, and so one byte after the
//     other. Therefore a node is silent about all that makes no sense, and looks
//     less and less often at what comes from where altered messages came from: to
//     read a hundred bytes would take years. The price is that such an attacker
//     keeps newcomers out, for up to four and a half hours after its last message.
//     Members that were heard before are not affected, but the multicasts of those are
//     whose addresses it forges.
//   - The initialization vector is the same for every message, so that everybody
//     sees which messages begin alike.
//   - Whoever has recorded one message can try passwords on it. The salt is the
//     same everywhere, so that a dictionary needs to be prepared only once. The
//     password must be a strong one.
//
// Use the TLS plane wherever the prototype need not be met.
//
// The cipher is AES-256 in CBC mode with PKCS#7 padding. The key comes from
// the password by PBKDF2 with HMAC-SHA-256, and the initialization vector is a
// part of the key. Every datagram and every message on a stream is encrypted
// by itself, and nothing tells where in a stream a message ends but the CBOR
// item in it. What does not decrypt to one CBOR item is dropped with
// [acp.ErrForeign]; it may be of a length that has to be waited for first.
//
// Fields must not be changed after Open.
type Plane struct {
	// Password is the domain's, in UTF-8.
	Password string
	// Key is the domain's key of 32 bytes, in place of the password: what the
	// prototype's quadsmaker stores and its quadski hands out.
	Key []byte
	// Under is the plane that carries what is encrypted; it need not be secure.
	// nil means Layer2 on all links.
	Under acp.Plane
}

// reason is the Reason of the plane's Status.
const reason = "QUADS: encrypted with a password that all members share; no identities, no integrity, replays are possible"

// Status implements [acp.Plane]. It is secure if there is a password or a key. See
// Plane for what that is worth.
func (q *Plane) Status() acp.Status {
	if err := q.check(); err != nil {
		return acp.Status{Reason: err.Error()}
	}
	return acp.Status{Secure: true, Reason: reason}
}

// Open implements [acp.Plane]: it opens an endpoint of the plane below. It fails
// without a password or key, with both, and with a key of another length. To derive the
// key from a password takes about a tenth of a second.
func (q *Plane) Open() (acp.Endpoint, error) {
	key, err := q.key()
	if err != nil {
		return nil, fmt.Errorf("acp: %w", err)
	}
	under := q.Under
	if under == nil {
		under = &acp.Layer2{}
	}
	ep, err := under.Open()
	if err != nil {
		return nil, err
	}
	return &endpoint{key: key, under: ep}, nil
}

func (q *Plane) check() error {
	switch {
	case q.Password == "" && len(q.Key) == 0:
		return errors.New("QUADS: there is no password")
	case q.Password != "" && len(q.Key) > 0:
		return errors.New("QUADS: there are both a password and a key")
	case q.Password == "" && len(q.Key) != keySize:
		return fmt.Errorf("QUADS: the key has %d bytes, not %d", len(q.Key), keySize)
	}
	return nil
}

// How the prototype derives the key from the password.
const (
	salt       = "\xf4tRj.t\xac\xce\xe1\x89\xf1\xfb\xc1\xc3L\xeb"
	iterations = 100_000
	keySize    = 32
)

// key returns the key that the fields stand for.
func (q *Plane) key() (*domainKey, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	key := q.Key
	if q.Password != "" {
		var err error
		key, err = pbkdf2.Key(sha256.New, q.Password, []byte(salt), iterations, keySize)
		if err != nil {
			return nil, fmt.Errorf("QUADS: %w", err)
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("QUADS: %w", err)
	}
	k := &domainKey{block: block}
	copy(k.iv[:], key[key[0]%10:])
	return k, nil
}

// domainKey encrypts and decrypts messages, each by itself.
type domainKey struct {
	block cipher.Block
	iv    [aes.BlockSize]byte
}

// paddedSize returns the size of a message of n bytes once it is encrypted:
// there are 1 to 16 bytes of padding.
func paddedSize(n int) int { return n - n%aes.BlockSize + aes.BlockSize }

// seal returns a message encrypted.
func (k *domainKey) seal(msg []byte) []byte {
	sealed := make([]byte, paddedSize(len(msg)))
	n := copy(sealed, msg)
	for i := n; i < len(sealed); i++ {
		sealed[i] = byte(len(sealed) - n)
	}
	cipher.NewCBCEncrypter(k.block, k.iv[:]).CryptBlocks(sealed, sealed)
	return sealed
}

// open decrypts a message in place. The error wraps ErrForeign.
func (k *domainKey) open(sealed []byte) ([]byte, error) {
	if len(sealed)%aes.BlockSize != 0 {
		return nil, foreign(fmt.Errorf("%d bytes are no multiple of %d", len(sealed), aes.BlockSize))
	}
	k.decrypter().CryptBlocks(sealed, sealed)
	n, err := wire.Scan(sealed, limits(len(sealed)))
	if err != nil {
		return nil, foreign(err)
	}
	if paddedSize(n) != len(sealed) || !isPadding(sealed[n:]) {
		return nil, foreign(errNoPadding)
	}
	return sealed[:n], nil
}

// decrypter returns what decrypts one message.
func (k *domainKey) decrypter() cipher.BlockMode { return cipher.NewCBCDecrypter(k.block, k.iv[:]) }

// limits are the limits for a message, those of package grasp.
func limits(bytes int) wire.Limits {
	return wire.Limits{Bytes: bytes, Elements: max(bytes, wire.DefaultElements)}
}

// isPadding reports whether b is PKCS#7 padding.
func isPadding(b []byte) bool {
	for _, c := range b {
		if int(c) != len(b) {
			return false
		}
	}
	return true
}

// errMuted is the error for what is dropped without being looked at.
var errMuted = fmt.Errorf("quads: altered messages came from there: %w", acp.ErrForeign)

var errNoPadding = errors.New("no padding after the CBOR item")

func foreign(err error) error {
	return fmt.Errorf("acp: QUADS: %w, nothing that makes sense under this key: %w", acp.ErrForeign, err)
}

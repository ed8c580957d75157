package tlsplane

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/go-grasp/grasp/internal/share"
)

// A proof that does not fit an announcement is cut into parts, which as many
// announcements carry that are sent one after another. Each part is encrypted by itself,
// for the address and port that it is about, and names all parts of its proof by their
// digests: so a part that is forged, or replayed from another address, never becomes one
// of a member's proof.

// Bounds on parts.
const (
	maxParts   = 8  // of a proof
	digestSize = 16 // of SHA-256
	// partOverhead is what an announcement and the encryption may add to a piece of a
	// proof.
	partOverhead = 260

	maxUnfinished     = 256              // proofs of which parts are missing, on all links
	unfinishedPerAddr = perAddress       // of these, about one address
	unfinishedTime    = 10 * time.Second // for the missing parts to come
)

// partMark stands before a part in the value of AN_ACP.
const partMark = "part"

// aboutPart is what a part is encrypted for, together with an address and port.
const aboutPart = "GRASP-TLS part"

// part is what is encrypted.
type part struct {
	_       struct{} `cbor:",toarray"`
	Digests []byte   // of the pieces of all parts, in their order
	Number  uint     // of this one, from 0
	Piece   []byte   // of the proof
}

// count returns how many parts there are, and 0 if this cannot be one of them.
func (p *part) count() int {
	n := len(p.Digests) / digestSize
	if len(p.Digests)%digestSize != 0 || n > maxParts || p.Number >= uint(n) || len(p.Piece) == 0 {
		return 0
	}
	return n
}

// isOwnPiece reports whether the piece is the one that the digests name.
func (p *part) isOwnPiece() bool {
	return bytes.Equal(digest(p.Piece), p.Digests[p.Number*digestSize:][:digestSize])
}

func digest(piece []byte) []byte {
	sum := sha256.Sum256(piece)
	return sum[:digestSize]
}

// cut returns the parts of a proof, encrypted for announcements that may have a size.
func (k *anchorKey) cut(plain []byte, to netip.AddrPort, size int) ([][]byte, error) {
	room := size - partOverhead
	if room <= 0 || len(plain) > maxParts*room {
		return nil, fmt.Errorf("a proof of %d bytes is more than %d parts", len(plain), maxParts)
	}
	pieces := slices.Collect(slices.Chunk(plain, room))
	var p part
	for _, piece := range pieces {
		p.Digests = append(p.Digests, digest(piece)...)
	}
	var parts [][]byte
	for i, piece := range pieces {
		p.Number, p.Piece = uint(i), piece
		raw, err := cbor.Marshal(p)
		if err != nil {
			return nil, err
		}
		parts = append(parts, k.seal(raw, place(aboutPart, to)))
	}
	return parts, nil
}

// openPart decrypts a part. It returns false if there is none for this node, or it was
// not made for this address by somebody who knows the anchor.
func (a *anchors) openPart(sealed []byte, to netip.AddrPort) (p part, ok bool) {
	plain, ok := a.decrypt(sealed, place(aboutPart, to))
	return p, ok && cbor.Unmarshal(plain, &p) == nil && p.count() > 0 && p.isOwnPiece()
}

// unfinished is a proof of which parts are missing.
type unfinished struct {
	name    proofName
	pieces  [][]byte // nil: missing
	missing int
	began   time.Time
}

// proofName tells proofs apart: by what they are about, and the digests of their parts.
type proofName struct {
	to      netip.AddrPort
	digests string
}

// assembly puts proofs together. Those of which parts are missing have a share for each
// address: when there are too many, the oldest of the largest share is given up, and so is
// what is not finished in time.
type assembly struct {
	byName map[proofName]*share.Elem[netip.Addr, *unfinished]
	shares *share.Shares[netip.Addr, *unfinished]
	look   time.Time // for what is not finished: not before
}

func newAssembly() *assembly {
	return &assembly{
		byName: make(map[proofName]*share.Elem[netip.Addr, *unfinished]),
		shares: share.New[netip.Addr, *unfinished](maxUnfinished, unfinishedPerAddr),
	}
}

// add adds a part of a proof that somebody is found at an address. It returns the proof
// if no other is missing, and how many were given up.
func (a *assembly) add(to netip.AddrPort, p part, now time.Time) (whole []byte, givenUp int) {
	name := proofName{to, string(p.Digests)}
	elem := a.byName[name]
	if elem == nil {
		n := p.count()
		var evict *share.Elem[netip.Addr, *unfinished]
		elem, evict = a.shares.Add(to.Addr(), &unfinished{name: name, pieces: make([][]byte, n), missing: n, began: now})
		a.byName[name] = elem
		if evict != nil {
			a.remove(evict)
			givenUp = 1
		}
	}
	u := elem.Value
	if u.pieces[p.Number] == nil {
		u.pieces[p.Number] = p.Piece
		u.missing--
	}
	if u.missing > 0 {
		return nil, givenUp
	}
	a.remove(elem)
	return bytes.Join(u.pieces, nil), givenUp
}

// expire gives up what is not finished in time, and returns how many that were.
func (a *assembly) expire(now time.Time) (givenUp int) {
	if now.Before(a.look) {
		return 0
	}
	a.look = now.Add(unfinishedTime / 10)
	for _, elem := range a.byName {
		if now.Sub(elem.Value.began) >= unfinishedTime {
			a.remove(elem)
			givenUp++
		}
	}
	return givenUp
}

func (a *assembly) remove(elem *share.Elem[netip.Addr, *unfinished]) {
	delete(a.byName, elem.Value.name)
	a.shares.Remove(elem)
}

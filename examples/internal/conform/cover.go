package conform

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"
)

// cover is what messages go under in a protected group; nil: nothing.
type cover struct {
	block cipher.Block
	iv    []byte
}

// quadsSalt is the same for all the domains of the Python prototype, and so is
// the number of rounds.
const (
	quadsSalt   = "\xf4\x74\x52\x6a\x2e\x74\xac\xce\xe1\x89\xf1\xfb\xc1\xc3\x4c\xeb"
	quadsRounds = 100_000
)

// newQUADS returns the cover of "quick and dirty secrecy" under a password.
func newQUADS(password string) (*cover, error) {
	key, err := pbkdf2.Key(sha256.New, password, []byte(quadsSalt), quadsRounds, 32)
	if err != nil {
		return nil, fmt.Errorf("QUADS: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("QUADS: %w", err)
	}
	at := int(key[0] % 10)
	return &cover{block: block, iv: key[at : at+aes.BlockSize]}, nil
}

// seal covers a message.
func (c *cover) seal(b []byte) []byte {
	if c == nil {
		return b
	}
	pad := aes.BlockSize - len(b)%aes.BlockSize
	out := append(bytes.Clone(b), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(c.block, c.iv).CryptBlocks(out, out)
	return out
}

// open uncovers a message, if it is one of the group.
func (c *cover) open(b []byte) ([]byte, bool) {
	if c == nil {
		return b, true
	}
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return nil, false
	}
	out := make([]byte, len(b))
	cipher.NewCBCDecrypter(c.block, c.iv).CryptBlocks(out, b)
	pad := int(out[len(out)-1])
	if pad == 0 || pad > aes.BlockSize {
		return nil, false
	}
	return out[:len(out)-pad], true
}

// split cuts the first message off what came by a stream, and uncovers it. It
// returns nil if there is no whole one yet. Under a cover nothing but the item
// within tells where a message ends.
func (c *cover) split(b []byte) (first, rest []byte, err error) {
	if c == nil {
		return split(b)
	}
	for n := aes.BlockSize; n <= len(b); n += aes.BlockSize {
		if m, ok := c.open(b[:n]); ok && whole(m) {
			return m, b[n:], nil
		}
	}
	return nil, b, nil
}

// room is how long a message can be that fits into a packet of so many bytes.
func (c *cover) room(n int) int {
	if c == nil {
		return n
	}
	return n - n%aes.BlockSize - 1
}

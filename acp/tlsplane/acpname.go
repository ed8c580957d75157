package tlsplane

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// acpName is the name of a node in an Autonomic Control Plane, which its
// certificate may have (RFC 8994 section 6.2.2).
type acpName struct {
	text   string
	addr   netip.Addr // the zero Addr if there is none
	domain string     // in lower case
}

// What is in a certificate: the extension for alternative names, and in it an
// otherName, id-on-AcpNodeName.
var (
	oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidACPName = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 10}
)

// otherName is the otherName of RFC 5280 section 4.2.1.6.
type otherName struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue // [0] EXPLICIT
}

var errACPName = errors.New("its AcpNodeName makes no sense")

// acpNameOf returns the name in a certificate, nil if there is none.
func acpNameOf(c *x509.Certificate) (*acpName, error) {
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return nil, fmt.Errorf("its alternative names: %w", errACPName)
		}
		for _, n := range names {
			if n.Class != asn1.ClassContextSpecific || n.Tag != 0 {
				continue
			}
			var other otherName
			if _, err := asn1.UnmarshalWithParams(n.FullBytes, &other, "tag:0"); err != nil {
				return nil, fmt.Errorf("%w: %w", errACPName, err)
			}
			if !other.ID.Equal(oidACPName) {
				continue
			}
			var text asn1.RawValue
			if rest, err := asn1.Unmarshal(other.Value.Bytes, &text); err != nil || len(rest) > 0 || text.Tag != asn1.TagIA5String {
				return nil, fmt.Errorf("%w: it is no IA5String", errACPName)
			}
			return parseACPName(string(text.Bytes))
		}
	}
	return nil, nil
}

// parseACPName reads acp-node-name: [acp-address] ["+" rsub extensions] "@"
// acp-domain-name, where the address is 32 hexadecimal digits or "0".
func parseACPName(text string) (*acpName, error) {
	local, domain, ok := strings.Cut(text, "@")
	if !ok || domain == "" || len(text) > maxName || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%w: %q", errACPName, text)
	}
	n := &acpName{text: text, domain: strings.ToLower(domain)}
	addr, _, _ := strings.Cut(local, "+")
	switch {
	case addr == "" || addr == "0":
	case len(addr) != 32 || strings.ToLower(addr) != addr:
		return nil, fmt.Errorf("%w: the address in %q", errACPName, text)
	default:
		raw, err := hex.DecodeString(addr)
		if err != nil {
			return nil, fmt.Errorf("%w: the address in %q", errACPName, text)
		}
		n.addr = netip.AddrFrom16([16]byte(raw))
	}
	return n, nil
}

// ACP addresses of one node have the same first bits, and those of a domain the
// same prefix (RFC 8994 section 6.11).
const (
	acpNodeBits   = 112
	acpDomainBits = 48
)

// isAt reports whether a node may be found at an address: it must be one of its own,
// if it is one of its domain's.
func (n *acpName) isAt(addr netip.Addr) bool {
	if !n.addr.IsValid() || !addr.Is6() || !samePrefix(n.addr, addr, acpDomainBits) {
		return true
	}
	return samePrefix(n.addr, addr, acpNodeBits)
}

func samePrefix(a, b netip.Addr, bits int) bool {
	p, err := a.Prefix(bits)
	return err == nil && p.Contains(b.WithZone(""))
}

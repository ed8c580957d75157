package tlsplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"unicode"
)

// Reason is why a peer was refused, or its connection ended.
type Reason string

// The reasons.
const (
	ReasonExpired     Reason = "expired"           // its certificate is
	ReasonNotYetValid Reason = "not yet valid"     // its certificate is
	ReasonForeign     Reason = "foreign"           // its certificate leads to no anchor
	ReasonRevoked     Reason = "revoked"           // says Credentials.Revoked
	ReasonUsage       Reason = "wrong usage"       // its certificate is for something else
	ReasonNoName      Reason = "no name"           // its certificate does not say whose it is
	ReasonOwn         Reason = "own credentials"   // this node is not secure itself
	ReasonProtocol    Reason = "protocol"          // not TLS 1.3 as it has to be, or not TLS at all
	ReasonPeer        Reason = "by the peer"       // the peer refuses this node, or ended it
	ReasonTimeout     Reason = "timeout"           // it took too long
	ReasonDisplaced   Reason = "displaced"         // by newer ones, there being too many
	ReasonTooMany     Reason = "too many"          // neighbours on the link
	ReasonDomain      Reason = "another domain"    // by its AcpNodeName (RFC 8994 section 6.2.3)
	ReasonAddress     Reason = "another's address" // by its AcpNodeName: it is not at its own
)

// RefusedError says why a peer is not trusted. Its cause may be an error of
// crypto/x509.
type RefusedError struct {
	Reason   Reason
	Identity string // what its certificate says, true or not; may be empty
	Err      error
}

// Error returns a text such as `"gray" is refused (revoked): ...`.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%q is refused (%s): %v", e.Identity, e.Reason, e.Err)
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// reasonOf sorts what can go wrong in a handshake.
func reasonOf(err error) Reason {
	var refused *RefusedError
	var alert tls.AlertError
	switch {
	case errors.As(err, &refused):
		return refused.Reason
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	case errors.As(err, &alert), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return ReasonPeer
	default:
		return ReasonProtocol
	}
}

// subject is who a certificate that was verified is about.
type subject struct {
	identity string
	anchor   *x509.Certificate // that it leads to
	name     *acpName          // nil: it has none
}

// verify checks the certificates that a peer showed and returns who it is. Whatever its
// name is, it is a member, with one exception: if both the peer and this node have an
// AcpNodeName (RFC 8994 section 6.2.2), these must be of the same domain.
func (p *Plane) verify(shown []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage) (subject, error) {
	if len(shown) == 0 {
		return subject{}, &RefusedError{Reason: ReasonProtocol, Err: errNoCertificate}
	}
	leaf := shown[0]
	identity := identityOf(leaf)
	refuse := func(reason Reason, err error) (subject, error) {
		return subject{}, &RefusedError{Reason: reason, Identity: identity, Err: err}
	}
	// Before package x509 looks, which has one error for both.
	now := p.now()
	switch {
	case now.Before(leaf.NotBefore):
		return refuse(ReasonNotYetValid, fmt.Errorf("valid from %v", leaf.NotBefore))
	case now.After(leaf.NotAfter):
		return refuse(ReasonExpired, fmt.Errorf("valid until %v", leaf.NotAfter))
	}
	opts := x509.VerifyOptions{
		CurrentTime: now, Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage},
	}
	for _, c := range shown[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return refuse(ReasonExpired, err) // one that issued it
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return refuse(ReasonUsage, err)
	case err != nil:
		return refuse(ReasonForeign, err)
	case leaf.IsCA || !hasUsages(leaf):
		return refuse(ReasonUsage, errors.New("not for both client and server authentication, or for a CA"))
	case identity == "":
		return refuse(ReasonNoName, errors.New("its certificate has no name that can be used"))
	}
	name, err := acpNameOf(leaf)
	if err != nil {
		return refuse(ReasonNoName, err)
	}
	if own := p.domain.Load(); name != nil && own != nil && *own != "" && name.domain != *own {
		return refuse(ReasonDomain, fmt.Errorf("it is of the domain %s, this node of %s", name.domain, *own))
	}
	// One chain that stands is enough.
	for _, chain := range chains {
		if err = p.Credentials.Revoked(chain); err == nil {
			return subject{identity: identity, anchor: chain[len(chain)-1], name: name}, nil
		}
	}
	return refuse(ReasonRevoked, err)
}

func hasUsages(c *x509.Certificate) bool {
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) &&
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
}

// maxName bounds the length of an identity, like that of a domain name.
const maxName = 253

// identityOf returns who a certificate is about: the first of its DNS names, its
// AcpNodeName, URIs, mail addresses and its common name that can be used. IP addresses
// cannot: they say where somebody is, not who.
func identityOf(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	if name, err := acpNameOf(c); err == nil && name != nil {
		names = append(names, name.text)
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	names = append(append(names, c.EmailAddresses...), c.Subject.CommonName)
	for _, name := range names {
		_, err := netip.ParseAddr(name)
		if err != nil && name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
			return !unicode.IsPrint(r) // nobody shall forge a line of a log
		}) {
			return name
		}
	}
	return ""
}

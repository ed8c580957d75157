package tlsplane

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"github.com/go-grasp/grasp/acp"
)

// Credentials say who a node is and whom it trusts. All three are asked for
// every handshake, and every Plane.CheckInterval: they may change at any time.
// They are called concurrently and should not block.
type Credentials interface {
	// Certificate returns this node's certificate with its key, and those
	// that lead from it to an anchor.
	Certificate() (*tls.Certificate, error)
	// Roots returns the domain's trust anchors. The certificates that the
	// system trusts have no part in this.
	Roots() (*x509.CertPool, error)
	// Revoked returns why a member is no longer one, or nil. The chain goes
	// from the member's certificate to an anchor, and is valid otherwise.
	Revoked(chain []*x509.Certificate) error
}

// Static are credentials that stay as they are, and revoke nobody.
type Static struct {
	Member  tls.Certificate
	Anchors *x509.CertPool
}

// Certificate implements [Credentials].
func (s Static) Certificate() (*tls.Certificate, error) { return &s.Member, nil }

// Roots implements [Credentials].
func (s Static) Roots() (*x509.CertPool, error) { return s.Anchors, nil }

// Revoked implements [Credentials].
func (Static) Revoked([]*x509.Certificate) error { return nil }

var (
	errNoCredentials = errors.New("no credentials")
	errNoCertificate = errors.New("no certificate")
	errNoRoots       = errors.New("no trust anchors")
)

// own returns this node's certificate and the trust anchors.
func (p *Plane) own() (*tls.Certificate, *x509.CertPool, error) {
	if p.Credentials == nil {
		return nil, nil, errNoCredentials
	}
	cert, err := p.Credentials.Certificate()
	if err != nil {
		return nil, nil, err
	}
	if cert == nil || len(cert.Certificate) == 0 {
		return nil, nil, errNoCertificate
	}
	roots, err := p.Credentials.Roots()
	if err != nil {
		return nil, nil, err
	}
	if roots == nil || roots.Equal(x509.NewCertPool()) { // nil would mean the system's
		return nil, nil, errNoRoots
	}
	return cert, roots, nil
}

// standing is what was found out about this node itself.
type standing struct {
	acp.Status
	until  time.Time // when to look again
	cert   *tls.Certificate
	anchor *anchorKey // that the certificate leads to; nil: not known
}

// Status implements [acp.Plane]. The reason says which certificate it is and
// how long it is valid, or what is wrong with it.
func (p *Plane) Status() acp.Status { return p.look().Status }

// look returns the node's standing, which is found out anew if that was not
// done for a while.
func (p *Plane) look() *standing {
	if s := p.standing.Load(); s != nil && time.Now().Before(s.until) {
		return s
	}
	return p.lookAgain()
}

func (p *Plane) lookAgain() *standing {
	now := time.Now()
	s := &standing{until: now.Add(p.checkInterval())}
	cert, leaf, who, err := p.checkOwn()
	if leaf != nil {
		for _, turn := range []time.Time{leaf.NotBefore, leaf.NotAfter.Add(time.Nanosecond)} {
			if left := turn.Sub(p.now()); left > 0 && left < s.until.Sub(now) {
				s.until = now.Add(left)
			}
		}
	}
	if err != nil {
		s.Reason = "TLS: this node's credentials: " + err.Error()
	} else {
		s.Secure = true
		s.cert = cert
		if s.anchor, err = p.anchors.learn(who.anchor); err != nil {
			p.log().Warn("announcements go without a proof", "error", err)
		}
		s.Reason = "TLS 1.3, as " + who.identity + " until " + leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	p.standing.Store(s)
	return s
}

// checkOwn checks this node's own certificate like that of a peer.
func (p *Plane) checkOwn() (cert *tls.Certificate, leaf *x509.Certificate, who subject, err error) {
	cert, roots, err := p.own()
	if err != nil {
		return nil, nil, who, err
	}
	var chain []*x509.Certificate
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, who, err
		}
		chain = append(chain, c)
	}
	domain := ""
	if name, err := acpNameOf(chain[0]); err == nil && name != nil {
		domain = name.domain
	}
	p.domain.Store(&domain)
	who, err = p.verify(chain, roots, x509.ExtKeyUsageClientAuth)
	return cert, chain[0], who, err
}

package dnssd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Multicast asks the hosts of a link by one-shot multicast DNS queries over IPv6
// (RFC 6762 section 5.1), which they answer by unicast.
type Multicast struct {
	Link string // its name
}

// listenTime is how long answers are collected: hosts that share a name wait for
// up to 120 ms each (RFC 6762 section 6).
const listenTime = time.Second

var mdnsGroup = netip.MustParseAddr("ff02::fb")

const mdnsPort = 5353

// query collects the answers of all hosts to a question for PTR resources, and
// takes the first to one for others, which belong to one host.
func (m Multicast) query(ctx context.Context, name string, kind dnsmessage.Type) ([]dnsmessage.ResourceBody, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	q := dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}
	query := dnsmessage.Message{Questions: []dnsmessage.Question{q}}
	raw, err := query.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := net.InterfaceByName(m.Link); err != nil {
		return nil, fmt.Errorf("multicast DNS on %s: %w", m.Link, err)
	}
	conn, err := net.ListenUDP("udp6", nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := conn.SetDeadline(time.Now().Add(listenTime)); err != nil {
		return nil, err
	}
	if _, err := conn.WriteToUDPAddrPort(raw, netip.AddrPortFrom(mdnsGroup.WithZone(m.Link), mdnsPort)); err != nil {
		return nil, fmt.Errorf("multicast DNS on %s: %w", m.Link, err)
	}
	var all []dnsmessage.ResourceBody
	buf := make([]byte, 1<<16)
	for {
		size, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("multicast DNS on %s: %w", m.Link, err)
		case from.Addr().Zone() != m.Link:
			continue // not from the link (RFC 6762 section 11)
		}
		found := heard(buf[:size], q)
		all = append(all, found...)
		if len(found) > 0 && kind != dnsmessage.TypePTR {
			return all, nil
		}
	}
}

// heard returns the resources in an answer that the question asked for.
func heard(answer []byte, q dnsmessage.Question) []dnsmessage.ResourceBody {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err != nil || !h.Response || p.SkipAllQuestions() != nil {
		return nil
	}
	// The highest bit of the class says that the host has no others.
	const class = 1<<15 - 1
	all, err := answers(&p, func(h dnsmessage.ResourceHeader) bool {
		return h.Type == q.Type && h.Class&class == q.Class && strings.EqualFold(h.Name.String(), q.Name.String())
	})
	if err != nil {
		return nil
	}
	return all
}

// Both asks a DNS server, but the hosts of a link for names below local.
type Both struct {
	DNS  Resolver
	Link Multicast // without a link the server is asked for those, too
}

func (b Both) query(ctx context.Context, name string, kind dnsmessage.Type) ([]dnsmessage.ResourceBody, error) {
	if b.Link.Link != "" && strings.HasSuffix(strings.ToLower(name), ".local.") {
		return b.Link.query(ctx, name, kind)
	}
	return b.DNS.query(ctx, name, kind)
}

package dnssd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Resolver asks a DNS server, which does the recursion.
type Resolver struct {
	Server netip.AddrPort
}

// Port is where DNS servers listen.
const Port = 53

// How long a server has to answer, and how often it is asked.
const (
	queryTime = 2 * time.Second
	attempts  = 3
)

// ErrNoServer says that there is no DNS server to ask.
var ErrNoServer = errors.New("no DNS server: none is named, and none is in the resolver's configuration")

// SystemServer returns the first DNS server of a file like /etc/resolv.conf.
func SystemServer(path string) (netip.AddrPort, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == "nameserver" {
			if addr, err := netip.ParseAddr(words[1]); err == nil {
				return netip.AddrPortFrom(addr, Port), nil
			}
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%w, %s", ErrNoServer, path)
}

// query asks for the resources of a type that a name has; none is no error.
func (r Resolver) query(ctx context.Context, name string, kind dnsmessage.Type) ([]dnsmessage.ResourceBody, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	q := dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}
	for range attempts {
		var bodies []dnsmessage.ResourceBody
		bodies, err = r.try(ctx, q, "udp")
		if errors.Is(err, errTruncated) {
			bodies, err = r.try(ctx, q, "tcp")
		}
		if err == nil || ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			if err != nil {
				err = fmt.Errorf("DNS server %v: %w", r.Server, err)
			}
			return bodies, err
		}
	}
	return nil, fmt.Errorf("DNS server %v does not answer: %w", r.Server, err)
}

// try asks the server once over UDP or TCP.
func (r Resolver) try(ctx context.Context, q dnsmessage.Question, network string) ([]dnsmessage.ResourceBody, error) {
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{q},
	}
	raw, err := query.Pack()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: queryTime}
	conn, err := dialer.DialContext(ctx, network, r.Server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := conn.SetDeadline(time.Now().Add(queryTime)); err != nil {
		return nil, err
	}
	if network == "tcp" {
		raw = append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
	}
	if _, err := conn.Write(raw); err != nil {
		return nil, err
	}
	for {
		answer, err := receive(conn, network)
		if err != nil {
			return nil, err
		}
		bodies, err := parse(answer, query.ID, q)
		if !errors.Is(err, errOther) {
			return bodies, err
		}
	}
}

// receive returns one message.
func receive(conn net.Conn, network string) ([]byte, error) {
	buf := make([]byte, 1<<16)
	if network == "tcp" {
		if _, err := io.ReadFull(conn, buf[:2]); err != nil {
			return nil, err
		}
		buf = buf[:binary.BigEndian.Uint16(buf)]
		_, err := io.ReadFull(conn, buf)
		return buf, err
	}
	n, err := conn.Read(buf)
	return buf[:n], err
}

var (
	errTruncated = errors.New("the answer is cut")
	errOther     = errors.New("not an answer to this question")
)

// parse returns the resources of the type that the question asked for, of the
// name or what it is an alias of.
func parse(answer []byte, id uint16, q dnsmessage.Question) ([]dnsmessage.ResourceBody, error) {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err != nil || h.ID != id || !h.Response {
		return nil, errOther
	}
	asked, err := p.Question()
	if err != nil || asked.Type != q.Type || !strings.EqualFold(asked.Name.String(), q.Name.String()) || p.SkipAllQuestions() != nil {
		return nil, errOther
	}
	switch {
	case h.Truncated:
		return nil, errTruncated
	case h.RCode == dnsmessage.RCodeNameError:
		return nil, nil
	case h.RCode != dnsmessage.RCodeSuccess:
		return nil, fmt.Errorf("%v", h.RCode)
	}
	return answers(&p, func(h dnsmessage.ResourceHeader) bool { return h.Type == q.Type && h.Class == q.Class })
}

// answers returns the resources in the answer section that are wanted. Those
// that cannot be read are left out: of package dnsmessage, names with a dot
// inside a label.
func answers(p *dnsmessage.Parser, wanted func(dnsmessage.ResourceHeader) bool) ([]dnsmessage.ResourceBody, error) {
	var all []dnsmessage.ResourceBody
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var body dnsmessage.ResourceBody
		if wanted(h) {
			body, err = resource(p, h.Type)
		}
		if body == nil || err != nil {
			if err := p.SkipAnswer(); err != nil {
				return nil, err
			}
			continue
		}
		all = append(all, body)
	}
}

// resource reads a resource of a type that matters here; nil if it does not.
func resource(p *dnsmessage.Parser, kind dnsmessage.Type) (dnsmessage.ResourceBody, error) {
	switch kind {
	case dnsmessage.TypePTR:
		r, err := p.PTRResource()
		return &r, err
	case dnsmessage.TypeSRV:
		r, err := p.SRVResource()
		return &r, err
	case dnsmessage.TypeTXT:
		r, err := p.TXTResource()
		return &r, err
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return &r, err
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		return &r, err
	}
	return nil, nil
}

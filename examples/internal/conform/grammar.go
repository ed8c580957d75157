package conform

import (
	"errors"
	"fmt"
)

// grammar says what about a message breaks the grammar of RFC 8990 section 4.
func (m message) grammar() error {
	if m.kind < 0 {
		return errors.New("no array that begins with a message type")
	}
	rule, ok := layouts[m.kind]
	if !ok {
		return fmt.Errorf("%d is no message type", m.kind)
	}
	if n := len(m.items); n < rule.least || n > rule.most {
		return fmt.Errorf("%v has %d items", m, n)
	}
	if m.kind != mNoop {
		if _, ok := m.sid(); !ok {
			return fmt.Errorf("%v: its session ID is no unsigned integer of 32 bits", m)
		}
	}
	if rule.rest == nil {
		return nil
	}
	if err := rule.rest(m); err != nil {
		return fmt.Errorf("%v: %w", m, err)
	}
	return nil
}

// many is more items than a message can have.
const many = 1 << 16

// layouts are the rules for the items of each type.
var layouts = map[int]struct {
	least, most int
	rest        func(message) error // for what follows the session ID
}{
	mNoop:      {1, 1, nil},
	mDiscovery: {4, 4, func(m message) error { return errors.Join(initiator(m.at(2)), anObjective(m.at(3))) }},
	mResponse:  {5, many, response},
	mReqNeg:    {3, 3, func(m message) error { return anObjective(m.at(2)) }},
	mReqSyn:    {3, 3, func(m message) error { return anObjective(m.at(2)) }},
	mNegotiate: {3, 3, func(m message) error { return anObjective(m.at(2)) }},
	mEnd:       {3, 3, func(m message) error { return ending(m.at(2)) }},
	mWait:      {3, 3, func(m message) error { return millis(m.at(2)) }},
	mSynch:     {3, 3, func(m message) error { return anObjective(m.at(2)) }},
	mFlood:     {5, many, flood},
	mInvalid:   {2, 3, nil},
}

func initiator(b raw) error {
	if o, ok := octets(b); !ok || len(o) != 4 && len(o) != 16 {
		return errors.New("the initiator is a byte string of 4 or 16 bytes")
	}
	return nil
}

func anObjective(b raw) error {
	_, err := asObjective(b)
	return err
}

func millis(b raw) error {
	if n, ok := number(b); !ok || n>>32 != 0 {
		return errors.New("a time is an unsigned integer of 32 bits")
	}
	return nil
}

func ending(b raw) error {
	kind, rest, ok := option(b)
	switch {
	case ok && kind == oAccept && len(rest) == 0:
		return nil
	case ok && kind == oDecline && len(rest) == 0:
		return nil
	case ok && kind == oDecline && len(rest) == 1:
		if _, ok := text(rest[0]); ok {
			return nil
		}
		return errors.New("the reason of a decline is text")
	}
	return errors.New("M_END has an accept or a decline option")
}

func response(m message) error {
	if err := errors.Join(initiator(m.at(2)), millis(m.at(3))); err != nil {
		return err
	}
	options := m.items[4:]
	if n := len(options); n > 1 {
		if _, err := asObjective(options[n-1]); err == nil {
			options = options[:n-1]
		}
	}
	if kind, rest, ok := option(options[0]); ok && kind == oDivert {
		if len(options) > 1 {
			return errors.New("nothing but an objective follows a divert option")
		}
		options = rest
		if len(options) == 0 {
			return errors.New("a divert option has a locator at least")
		}
	}
	for _, o := range options {
		if _, err := asLocator(o); err != nil {
			return err
		}
	}
	return nil
}

func flood(m message) error {
	if err := errors.Join(initiator(m.at(2)), millis(m.at(3))); err != nil {
		return err
	}
	for _, b := range m.items[4:] {
		pair, ok := array(b)
		if !ok || len(pair) != 2 {
			return errors.New("a flooded objective is an array of the objective and a locator")
		}
		if err := anObjective(pair[0]); err != nil {
			return err
		}
		if empty, ok := array(pair[1]); ok && len(empty) == 0 {
			continue
		}
		if _, err := asLocator(pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// locator is a locator option that came.
type locator struct {
	kind        uint64
	addr        []byte // of IP
	name        string // of FQDN or URI
	proto, port uint64
}

// asLocator reads a locator option.
func asLocator(b raw) (l locator, err error) {
	kind, rest, ok := option(b)
	if !ok || kind < oIPv6 || kind > oURI {
		return l, errors.New("no locator option: " + diagnose(b))
	}
	wrong := errors.New("a locator option against the grammar: " + diagnose(b))
	if len(rest) != 3 {
		return l, wrong
	}
	l.kind = kind
	switch kind {
	case oIPv6, oIPv4:
		want := map[uint64]int{oIPv6: 16, oIPv4: 4}[kind]
		if l.addr, ok = octets(rest[0]); !ok || len(l.addr) != want {
			return l, wrong
		}
	default:
		if l.name, ok = text(rest[0]); !ok {
			return l, wrong
		}
	}
	if kind == oURI && isNull(rest[1]) && isNull(rest[2]) {
		return l, nil
	}
	var ok1, ok2 bool
	l.proto, ok1 = number(rest[1])
	l.port, ok2 = number(rest[2])
	if !ok1 || !ok2 || l.port > 65535 || l.proto != 6 && l.proto != 17 {
		return l, wrong
	}
	return l, nil
}

func isNull(b raw) bool { return len(b) == 1 && b[0] == 0xf6 }

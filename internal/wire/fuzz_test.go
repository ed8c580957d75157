package wire

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkParse holds what must be true of any bytes, be they a message or not.
func checkParse(t testing.TB, b []byte) {
	t.Helper()
	whole := bytes.Clone(b)
	m, err := Parse(b, Limits{})
	n, scanErr := Scan(b, Limits{})
	relayed, relayErr := AppendRelayed(nil, b)
	require.Equal(t, whole, b)

	if err != nil {
		require.Nil(t, m)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.True(t, isClassified(err), "%v", err)
		if scanErr == nil && n == len(b) {
			require.True(t, errors.Is(err, ErrInvalid) || errors.Is(err, ErrUnknownType), "%v", err)
		}
		return
	}
	require.NoError(t, scanErr)
	require.Equal(t, len(b), n)
	require.NoError(t, WellFormed(b, Limits{}))

	// What was accepted can be sent, but for messages of which nothing was left.
	again, err := m.Append(nil)
	if sendable(m) {
		require.NoError(t, err)
		m2, err := Parse(again, Limits{Bytes: len(again) + 1})
		require.NoError(t, err)
		maskFlags(m)
		require.Equal(t, m, m2)
		third, err := m2.Append(nil)
		require.NoError(t, err)
		require.Equal(t, again, third)
	} else {
		require.Error(t, err)
	}

	switch m.(type) {
	case *Discovery, *Flood:
		if relayErr != nil {
			require.ErrorIs(t, relayErr, ErrLoopExhausted)
			return
		}
		m2, err := Parse(relayed, Limits{})
		require.NoError(t, err)
		require.Equal(t, m.Type(), m2.Type())
		if d, ok := m.(*Discovery); ok {
			d.Objective.LoopCount--
			maskFlags(m2)
			require.Equal(t, m, m2)
		} else {
			require.Len(t, m2.(*Flood).Objectives, len(m.(*Flood).Objectives))
		}
	default:
		require.ErrorIs(t, relayErr, ErrInvalid)
	}
}

func isClassified(err error) bool {
	for _, class := range []error{ErrTruncated, ErrMalformed, ErrInvalid, ErrUnknownType, ErrTooLong, ErrTooDeep, ErrTooMany} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

func sendable(m Message) bool {
	switch m := m.(type) {
	case *Response:
		return len(m.Locators)+len(m.Diverted) > 0
	case *Flood:
		return len(m.Objectives) > 0
	default:
		return true
	}
}

// maskFlags clears the flags, and what else of a message is not sent.
func maskFlags(m Message) {
	switch m := m.(type) {
	case *Discovery:
		m.Objective.Flags &= knownFlags
	case *Response:
		if m.Objective != nil {
			m.Objective.Flags &= knownFlags
		}
	case *ReqNeg:
		m.Objective.Flags &= knownFlags
	case *ReqSyn:
		m.Objective.Flags &= knownFlags
	case *Negotiate:
		m.Objective.Flags &= knownFlags
	case *Synch:
		m.Objective.Flags &= knownFlags
	case *Flood:
		m.LeftOut = 0
		for i := range m.Objectives {
			m.Objectives[i].Objective.Flags &= knownFlags
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b)
	}
	for _, v := range []arr{
		{2, sid, v6, 1, arr{106, "x"}, raw6, arr{100, raw4, arr{107}}, arr{300}, raw1},
		{9, sid, v4, 1, arr{raw1, arr{300}}, arr{raw1, raw4}, arr{107}},
		{6, sid, arr{107}, arr{102, "x"}}, {99, sid, map[string]any{"a": arr{}}}, {1, sid, v6, arr{200}, arr{"EX1", 1 << 20, 255}},
	} {
		f.Add(encode(f, v))
	}
	f.Add(unhex(f, "9f03059f7f62455860613160ff1800190006bf01020304ffffff"))
	f.Add(unhex(f, "9f020544c0000201019f1864849f186750ffff"))
	// Text that is not UTF-8 in a message that is, read as one string.
	f.Add(unhex(f, "d483306530303030d4813830"))
	f.Add(unhex(f, "c2c26530303030d0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		checkParse(t, b)
		agrees(t, b)
	})
}

// randomMessage makes any message that may be sent, from what rnd gives.
func randomMessage(rnd *rand.Rand, text string, value []byte) Message {
	pick := func() []byte {
		if rnd.IntN(3) == 0 {
			return nil
		}
		if rnd.IntN(2) == 0 && len(value) > 0 {
			return bytes.Clone(value)
		}
		return [][]byte{{nullByte}, {0}, {0x9f, 0xff}, {0x82, 1, 0x61, 'x'}, {0xd8, 0x18, 0x41, 0}}[rnd.IntN(5)]
	}
	name := func() string { return text[:rnd.IntN(len(text)+1)] }
	addr := func() netip.Addr {
		var a [16]byte
		for i := range a {
			a[i] = byte(rnd.Uint32())
		}
		if rnd.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte(a[:4]))
		}
		return netip.AddrFrom16(a)
	}
	number := func(limit int) int {
		if rnd.IntN(4) == 0 {
			return Null
		}
		return int(rnd.Int64N(int64(limit) + 1))
	}
	locator := func() Locator {
		l := Locator{Protocol: number(maxProtocol), Port: number(maxPort)}
		switch rnd.IntN(3) {
		case 0:
			l.Kind, l.Name = LocatorFQDN, name()
		case 1:
			l.Kind, l.Name = LocatorURI, name()
		default:
			l.Kind, l.Addr = LocatorIPv6, addr()
			if l.Addr.Is4() {
				l.Kind = LocatorIPv4
			}
		}
		return l
	}
	locators := func(n int) []Locator {
		var all []Locator
		for range rnd.IntN(n) {
			all = append(all, locator())
		}
		return all
	}
	objective := func() Objective {
		return Objective{name(), Flags(rnd.IntN(16)), uint8(rnd.Uint32()), pick()}
	}
	id := rnd.Uint32() >> rnd.IntN(32)
	switch rnd.IntN(11) {
	case 0:
		return &Noop{}
	case 1:
		return &Discovery{id, addr(), objective()}
	case 2:
		m := &Response{SessionID: id, Initiator: addr(), TTL: rnd.Uint32() >> rnd.IntN(32), Locators: locators(4), Diverted: locators(30)}
		if !sendable(m) {
			m.Locators = []Locator{locator()}
		}
		if rnd.IntN(2) == 0 {
			o := objective()
			m.Objective = &o
		}
		return m
	case 3:
		return &ReqNeg{id, objective()}
	case 4:
		return &ReqSyn{id, objective()}
	case 5:
		return &Negotiate{id, objective()}
	case 6:
		if rnd.IntN(2) == 0 {
			return &End{SessionID: id, Accept: true}
		}
		return &End{SessionID: id, Reason: name()}
	case 7:
		return &Wait{id, rnd.Uint32() >> rnd.IntN(32)}
	case 8:
		return &Synch{id, objective()}
	case 9:
		m := &Flood{SessionID: id, Initiator: addr(), TTL: rnd.Uint32() >> rnd.IntN(32)}
		for range 1 + rnd.IntN(30) {
			f := Flooded{Objective: objective()}
			if rnd.IntN(3) > 0 {
				f.Locator = locator()
			}
			m.Objectives = append(m.Objectives, f)
		}
		return m
	default:
		return &Invalid{id, pick()}
	}
}

// FuzzMessage makes messages of values: what Append sends, Parse takes.
func FuzzMessage(f *testing.F) {
	f.Add(uint64(1), "EX1", []byte{nullByte})
	f.Add(uint64(2), "example.com:Grüße", []byte{0x80})
	f.Add(uint64(3), "", []byte{})
	f.Add(uint64(4), "\xff", []byte{0x81})
	f.Add(uint64(5), "x", []byte{0xff})
	f.Fuzz(func(t *testing.T, seed uint64, text string, value []byte) {
		if len(text)+len(value) > 1000 {
			return
		}
		rnd := rand.New(rand.NewPCG(seed, 0))
		for range 8 {
			checkMessage(t, randomMessage(rnd, text, value))
		}
	})
}

func checkMessage(t testing.TB, m Message) {
	t.Helper()
	b, err := m.Append([]byte{1, 2})
	require.Equal(t, []byte{1, 2}, b[:2])
	if err != nil {
		// Only a text or a value can be wrong.
		require.ErrorIs(t, err, ErrInvalid)
		require.Len(t, b, 2)
		return
	}
	b = b[2:]
	lim := Limits{Bytes: max(1, len(b)), Elements: len(b)}
	got, err := Parse(b, lim)
	require.NoError(t, err)
	require.Equal(t, m, got)
	agrees(t, b)
	_, err = Parse(b, Limits{Bytes: len(b) - 1, Elements: len(b)})
	require.ErrorIs(t, err, ErrTooLong)
	switch m := m.(type) {
	case *Discovery:
		checkRelayed(t, m, &m.Objective, b)
	case *Flood:
		checkRelayed(t, m, &m.Objectives[0].Objective, b)
	}
}

// checkRelayed compares the relayed form of b, which is m, with m sent after first,
// an objective of it, has been changed.
func checkRelayed(t testing.TB, m Message, first *Objective, b []byte) {
	t.Helper()
	got, err := AppendRelayed(nil, b)
	if first.LoopCount <= 1 {
		require.ErrorIs(t, err, ErrLoopExhausted)
		return
	}
	require.NoError(t, err)
	first.LoopCount--
	require.Equal(t, mustAppend(t, m), got)
}

func TestRandomMessages(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		checkMessage(t, randomMessage(rnd, "example.com:objective", []byte{0xa1, 0x01, 0x9f, 0x7f, 0xff, 0xff}))
	}
}

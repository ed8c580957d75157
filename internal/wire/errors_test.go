package wire

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// V-01, V-02: the session ID is known if it could be read at all.
func TestV02SessionOfMessagesThatAreNotValid(t *testing.T) {
	session := Error{SessionID: sid, HasSession: true}
	typed := func(typ Type, e Error) Error { e.Type, e.HasType = typ, true; return e }
	for _, c := range []struct {
		hex  string
		want Error
		text string
	}{
		{"", Error{}, "grasp: cut short"},
		{"00", Error{}, "grasp: invalid message: message is not an array at byte 0"},
		{"80", Error{}, "grasp: invalid message: message type is missing at byte 1"},
		{"82", Error{}, "grasp: cut short"},
		{"8203", typed(3, Error{}), "grasp: M_REQ_NEG: cut short"},
		{"82031a00d4", typed(3, Error{}), "grasp: M_REQ_NEG: cut short"},
		{"82031a00d4d748", typed(3, session), "grasp: M_REQ_NEG: invalid message: objective is missing at byte 7"},
		{"83031a00d4d748", typed(3, session), "grasp: M_REQ_NEG: cut short"},
		{"83031a00d4d74861ff", typed(3, session), "grasp: M_REQ_NEG: malformed CBOR: text that is not UTF-8 at byte 7"},
		{"83031a00d4d7485b000000007fffffff", typed(3, session), "grasp: M_REQ_NEG: too long: string of 2147483647 bytes, the limit for the whole being 2048, at byte 7"},
		{"9b0000000000000003" + "1803" + "1b0000000000d4d748" + "80", typed(3, session), "grasp: M_REQ_NEG: invalid message: name of the objective is missing at byte 21"},
		{"9f031a00d4d748ff", typed(3, session), "grasp: M_REQ_NEG: invalid message: objective is missing at byte 8"},
		{"9f03ff", typed(3, Error{}), "grasp: M_REQ_NEG: invalid message: session ID is missing at byte 3"},
		{"82031b0000000100d4d748", typed(3, Error{}), "grasp: M_REQ_NEG: invalid message: session ID is not an unsigned integer up to 4294967295 at byte 2"},
		{"82" + "03" + "3a00d4d748", typed(3, Error{}), "grasp: M_REQ_NEG: invalid message: session ID is not an unsigned integer up to 4294967295 at byte 2"},
		{"8103", typed(3, Error{}), "grasp: M_REQ_NEG: invalid message: session ID is missing at byte 2"},
		{"81031a00d4d748", typed(3, Error{}), "grasp: M_REQ_NEG: malformed CBOR: 5 bytes after the item at byte 2"},
		{"82201a00d4d748", Error{}, "grasp: invalid message: message type is not an unsigned integer up to 18446744073709551615 at byte 1"},
		{"83061a00d4d74880", typed(6, session), "grasp: M_END: invalid message: neither accept nor decline: among the options at byte 7"},
		{"82182a1a00d4d748", typed(42, session), "grasp: message type 42: unknown message type: 42 at byte 1"},
		{"8219012a1a00d4d748", session, "grasp: unknown message type: 298 at byte 1"},
		{"82001a00d4d74800", typed(0, Error{}), "grasp: M_NOOP: malformed CBOR: 1 bytes after the item at byte 7"},
		{"821c1a00d4d748", Error{}, "grasp: malformed CBOR: reserved first byte at byte 1"},
	} {
		_, err := Parse(unhex(t, c.hex), Limits{})
		require.EqualError(t, err, c.text, c.hex)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.NotNil(t, errors.Unwrap(e))
		got := *e
		got.Err = nil
		require.Equal(t, c.want, got, c.hex)
	}
}

func TestErrorsOfAppendSayWhatIsWrong(t *testing.T) {
	for text, m := range map[string]Message{
		"grasp: M_FLOOD: invalid message: no objective":                                                           &Flood{Initiator: ip6},
		"grasp: M_DISCOVERY: invalid message: initiator is no address":                                            &Discovery{},
		"grasp: M_END: invalid message: reason \"\\xff\" is not UTF-8":                                            &End{Reason: "\xff"},
		"grasp: M_INVALID: invalid message: diagnostic data is not one CBOR item: cut short":                      &Invalid{Info: []byte{0x81}},
		"grasp: M_SYNCH: invalid message: value is not one CBOR item: malformed CBOR: unexpected break at byte 0": &Synch{Objective: Objective{Value: []byte{0xff}}},
	} {
		_, err := m.Append(nil)
		require.EqualError(t, err, text)
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err := (&Invalid{Info: []byte{0x81}}).Append(nil)
	require.ErrorIs(t, err, ErrTruncated)
}

// What an error says of the place is what Offset returns.
func TestOffset(t *testing.T) {
	for _, c := range []struct {
		hex string
		at  int
		ok  bool
	}{
		{"00", 0, true}, {"80", 1, true}, {"82031a00d4d748", 7, true}, {"81031a00d4d748", 2, true},
		{"82", 0, false}, {"83031a00d4d748", 0, false},
	} {
		_, err := Parse(unhex(t, c.hex), Limits{})
		require.Error(t, err)
		at, ok := Offset(err)
		require.Equal(t, c.ok, ok, c.hex)
		require.Equal(t, c.at, at, c.hex)
	}
	_, ok := Offset(nil)
	require.False(t, ok)
}

package grasp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// numbers, names and texts are those of the Python module, whose texts
// differ from the RFC's in 23 and 35.
func TestA07ErrorTable(t *testing.T) {
	for _, c := range []struct {
		code ErrorCode
		no   int
		text string
	}{
		{OK, 0, "OK"},
		{ErrDeclined, 1, "Declined"},
		{ErrNoReply, 2, "No reply"},
		{ErrUnspec, 3, "Unspecified error"},
		{ErrASAFull, 4, "ASA registry full"},
		{ErrDupASA, 5, "Duplicate ASA name"},
		{ErrNoASA, 6, "ASA not registered"},
		{ErrNotYourASA, 7, "ASA registered but not by you"},
		{ErrNotBoth, 8, "Objective cannot support both negotiation and synchronization"},
		{ErrNotDry, 9, "Dry-run allowed only with negotiation"},
		{ErrNotOverlap, 10, "Overlap not supported by this implementation"},
		{ErrObjFull, 11, "Objective registry full"},
		{ErrObjReg, 12, "Objective already registered"},
		{ErrNotYourObj, 13, "Objective not registered by this ASA"},
		{ErrNotObj, 14, "Objective not found"},
		{ErrNotNeg, 15, "Objective not negotiable"},
		{ErrNoSecurity, 16, "No security"},
		{ErrNoDiscReply, 17, "No reply to discovery"},
		{ErrSockErrNegRq, 18, "Socket error sending negotiation request"},
		{ErrNoSession, 19, "No session"},
		{ErrNoSocket, 20, "No socket"},
		{ErrLoopExhausted, 21, "Loop count exhausted"},
		{ErrSockErrNegStep, 22, "Socket error sending negotiation step"},
		{ErrNoPeer, 23, "Negotiation peer not listening"},
		{ErrCBORFail, 24, "CBOR decode failure"},
		{ErrInvalidNeg, 25, "Invalid Negotiate message"},
		{ErrInvalidEnd, 26, "Invalid end message"},
		{ErrNoNegReply, 27, "No reply to negotiation step"},
		{ErrNoValidStep, 28, "No valid reply to negotiation step"},
		{ErrSockErrWait, 29, "Socket error sending wait message"},
		{ErrSockErrEnd, 30, "Socket error sending end message"},
		{ErrIDClash, 31, "Incoming request Session ID clash"},
		{ErrNotSynch, 32, "Not a synchronization objective"},
		{ErrNotFloodDisc, 33, "Not flooded and no reply to discovery"},
		{ErrSockErrSynRq, 34, "Socket error sending synch request"},
		{ErrNoListener, 35, "Synchronization peer not listening"},
		{ErrNoSynchReply, 36, "No reply to synchronization request"},
		{ErrNoValidSynch, 37, "No valid reply to synchronization request"},
		{ErrInvalidLoc, 38, "Invalid locator"},
		{ErrSockErr, 39, "Socket error sending gmessage"},
	} {
		require.EqualValues(t, c.no, c.code)
		require.Equal(t, c.text, c.code.Error())
	}
}

// every code has a text of its own; the library's own begin at 40.
func TestA08EveryCodeHasItsOwnText(t *testing.T) {
	require.EqualValues(t, 40, min(ErrTooLong, ErrCancelled, ErrStopped, ErrUnusableLocator))
	seen := make(map[string]ErrorCode)
	for n := range errorTexts {
		text := ErrorCode(n).Error()
		require.NotEmpty(t, text, "code %d", n)
		require.NotContains(t, seen, text, "code %d", n)
		seen[text] = ErrorCode(n)
	}
	require.Equal(t, "Unknown error 255", ErrorCode(255).Error())
}

func TestCode(t *testing.T) {
	require.Equal(t, OK, Code(nil))
	require.Equal(t, ErrUnspec, Code(errors.New("not of this package")))
	require.Equal(t, ErrDupASA, Code(ErrDupASA))
	require.Equal(t, ErrDupASA, Code(fmt.Errorf("wrapped: %w", fail("op", "", ErrDupASA, nil))))
	require.Equal(t, ErrDeclined, Code(&DeclinedError{}))
	// The code of the call comes first, whatever the cause.
	require.Equal(t, ErrNoSession, Code(fail("op", "", ErrNoSession, ErrCancelled)))
}

func TestErrorText(t *testing.T) {
	peer := netip.MustParseAddrPort("[fd00::1]:4000")
	cause := errors.New("the cause")
	for _, c := range []struct {
		err  error
		text string
	}{
		{fail("close", "", ErrSockErr, cause), "grasp: close: Socket error sending gmessage: the cause"},
		{fail("flood", "EX1", ErrNotSynch, nil), `grasp: flood "EX1": Not a synchronization objective`},
		{fail("flood", "EX1", ErrNotSynch, ErrNotSynch), `grasp: flood "EX1": Not a synchronization objective`},
		{failWith("send", "EX1", peer, ErrSockErr, cause),
			`grasp: send "EX1" with [fd00::1]:4000: Socket error sending gmessage: the cause`},
		{&DeclinedError{"EX1", peer, ""}, `grasp: negotiate "EX1" with [fd00::1]:4000: Declined`},
		{&DeclinedError{"EX1", peer, "too much"}, `grasp: negotiate "EX1" with [fd00::1]:4000: Declined: too much`},
		{fail("flood", "EX\n1", ErrNotSynch, nil), `grasp: flood "EX\n1": Not a synchronization objective`},
	} {
		require.Equal(t, c.text, c.err.Error())
	}
}

// An Error is a net.Error, and everything that it wraps can be found.
func TestError(t *testing.T) {
	peer := netip.MustParseAddrPort("[fd00::1]:4000")
	err := fmt.Errorf("outer: %w", failWith("negotiate", "EX1", peer, ErrNoSession, errClosed))
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, Error{Op: "negotiate", Objective: "EX1", Peer: peer, Code: ErrNoSession, Err: errClosed}, *e)
	require.ErrorIs(t, err, ErrNoSession)
	require.ErrorIs(t, err, net.ErrClosed)
	require.NotErrorIs(t, err, ErrNoASA)
	var n net.Error
	require.ErrorAs(t, err, &n)
	require.False(t, n.Timeout())

	err = &DeclinedError{"EX1", peer, "too much"}
	require.ErrorAs(t, err, &e)
	require.Equal(t, Error{Op: "negotiate", Objective: "EX1", Peer: peer, Code: ErrDeclined}, *e)
	require.ErrorIs(t, err, ErrDeclined)
}

func TestErrorIsTimeout(t *testing.T) {
	for _, c := range []struct {
		code  ErrorCode
		cause error
		want  bool
	}{
		{ErrNoNegReply, os.ErrDeadlineExceeded, true},
		{ErrNoNegReply, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, true},
		{ErrSockErrNegRq, fmt.Errorf("%w: %w", errTimeout, io.EOF), true},
		{ErrCancelled, context.DeadlineExceeded, true},
		{ErrNoDiscReply, nil, true},
		{ErrNotFloodDisc, nil, true},
		{ErrNoDiscReply, io.EOF, false},
		{ErrCancelled, context.Canceled, false},
		{ErrNoNegReply, io.EOF, false},
		{ErrNoPeer, nil, false},
	} {
		err := fail("negotiate", "EX1", c.code, c.cause)
		var n net.Error
		require.ErrorAs(t, err, &n)
		require.Equal(t, c.want, n.Timeout(), "%v", err)
		//lint:ignore SA1019 it is deprecated, and a part of net.Error
		require.Equal(t, c.want, n.Temporary(), "%v", err)
		require.Equal(t, c.cause == context.DeadlineExceeded, errors.Is(err, context.DeadlineExceeded))
	}
}

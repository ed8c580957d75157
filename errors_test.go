package grasp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
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

// Errors of real calls name the objective, the peer and the cause.
func TestErrorsOfCallsNameWhatFailed(t *testing.T) {
	inBed(t, func(b *bed) {
		o := neg("EX1", 1)
		b.register(o)
		nobody := NewLocator(netip.AddrPortFrom(b.peer.node.Addr(), 1))
		err := b.request(o, &nobody, 0).done().err
		require.ErrorContains(b, err, `negotiate "EX1" with [fd00::2:1]:1: Socket error sending negotiation request: `)
		require.ErrorContains(b, err, "connection refused")

		call, s, _ := b.asked(o)
		require.NoError(b, s.Close())
		require.EqualError(b, call.done().err, fmt.Sprintf(
			`grasp: negotiate "EX1" with %v: Negotiation peer not listening: EOF`, netip.AddrPortFrom(b.peer.node.Addr(), b.peer.ep.Port())))

		call, s, m := b.asked(o)
		s.send(arr{99, m.id(b), "what is that?"})
		require.ErrorContains(b, call.done().err, `the peer sent M_INVALID: "what is that?"`)

		o.Value = string(make([]byte, 3000))
		_, _, err = b.asa.ReqNegotiate(forever, o, b.peer.locator(), 0)
		require.ErrorContains(b, err, `negotiate "EX1": Message too long: M_REQ_NEG of 30`)
		require.ErrorContains(b, err, "the limit is 2048")

		b.node.SetStatus(acp.Status{Reason: "the keys are gone"})
		_, err = b.asa.Discover(forever, o, 0, DiscoverOptions{})
		require.EqualError(b, err, `grasp: discover "EX1": No security: the keys are gone`)
	})
}

// Timeouts are timeouts in the sense of package net, and other errors are not.
func TestErrorTimeout(t *testing.T) {
	isTimeout := func(err error) bool {
		var timeout interface{ Timeout() bool }
		return errors.As(err, &timeout) && timeout.Timeout()
	}
	inBed(t, func(b *bed) {
		o := neg("EX1", 1)
		b.register(o)
		start := time.Now()
		a := b.request(o, b.peer.locator(), 3*time.Second).within(ever)
		isCode(b, a.err, ErrNoNegReply)
		require.True(b, isTimeout(a.err), "%v", a.err)
		require.Equal(b, 3*time.Second, a.at.Sub(start))

		a = b.synchronize(syn("EX2", nil), b.peer.locator(), 3*time.Second).within(ever)
		isCode(b, a.err, ErrNoSynchReply)
		require.True(b, isTimeout(a.err), "%v", a.err)

		s, err := b.asa.OpenSession(forever, o, b.peer.locator(), 0)
		require.NoError(b, err)
		_, err = s.Recv(forever, time.Second)
		isCode(b, err, ErrNoReply)
		require.True(b, isTimeout(err), "%v", err)

		// A peer that cannot be reached: dialing times out, with the call or
		// before.
		b.links[0].SetDelay(time.Minute)
		for timeout, want := range map[time.Duration]time.Duration{time.Second: time.Second, 0: 5 * time.Second} {
			start = time.Now()
			a = b.request(o, b.peer.locator(), timeout).within(ever)
			isCode(b, a.err, ErrSockErrNegRq)
			require.True(b, isTimeout(a.err), "%v", a.err)
			require.Equal(b, want, a.at.Sub(start))
		}
		b.links[0].SetDelay(0)

		ctx, cancel := context.WithTimeout(forever, time.Second)
		defer cancel()
		_, _, err = b.asa.ListenNegotiate(ctx, o)
		isCode(b, err, ErrCancelled)
		require.ErrorIs(b, err, context.DeadlineExceeded)
		require.True(b, isTimeout(err), "%v", err)

		_, _, err = b.asa.ReqNegotiate(forever, neg("EX3", nil), nil, 0)
		isCode(b, err, ErrNotYourObj)
		require.False(b, isTimeout(err), "%v", err)
	})
}

// A closed instance is a closed thing in the sense of package net.
func TestErrorOfClosedInstance(t *testing.T) {
	inBed(t, func(b *bed) {
		require.NoError(b, b.g.Close())
		_, err := b.g.RegisterASA("late")
		isCode(b, err, ErrNoASA)
		require.ErrorIs(b, err, net.ErrClosed)
		err = b.asa.RegisterObj(neg("EX1", nil), RegisterOptions{})
		isCode(b, err, ErrNoASA)
		require.ErrorIs(b, err, net.ErrClosed)
	})
}

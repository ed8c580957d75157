package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/stretchr/testify/require"
)

// Errors of real calls name the objective, the peer and the cause.
func TestErrorsOfCallsNameWhatFailed(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		nobody := grasp.NewLocator(netip.AddrPortFrom(b.Peer.Node.Addr(), 1))
		err := b.Request(o, &nobody, 0).Done().Err
		require.ErrorContains(b, err, `negotiate "EX1" with [fd00::2:1]:1: Socket error sending negotiation request: `)
		require.ErrorContains(b, err, "connection refused")

		call, s, _ := b.Asked(o)
		require.NoError(b, s.Close())
		require.EqualError(b, call.Done().Err, fmt.Sprintf(
			`grasp: negotiate "EX1" with %v: Negotiation peer not listening: EOF`, netip.AddrPortFrom(b.Peer.Node.Addr(), b.Peer.Endpoint.Port())))

		call, s, m := b.Asked(o)
		s.Send(arr{99, m.ID(b), "what is that?"})
		require.ErrorContains(b, call.Done().Err, `the peer sent M_INVALID: "what is that?"`)

		o.Value = string(make([]byte, 3000))
		_, _, err = b.ASA.ReqNegotiate(bed.Forever, o, b.Peer.Locator(), 0)
		require.ErrorContains(b, err, `negotiate "EX1": Message too long: M_REQ_NEG of 30`)
		require.ErrorContains(b, err, "the limit is 2048")

		b.Node.SetStatus(acp.Status{Reason: "the keys are gone"})
		_, err = b.ASA.Discover(bed.Forever, o, 0, grasp.DiscoverOptions{})
		require.EqualError(b, err, `grasp: discover "EX1": No security: the keys are gone`)
	})
}

// Timeouts are timeouts in the sense of package net, and other errors are not.
func TestErrorTimeout(t *testing.T) {
	isTimeout := func(err error) bool {
		var timeout interface{ Timeout() bool }
		return errors.As(err, &timeout) && timeout.Timeout()
	}
	bed.In(t, func(b *bed.Bed) {
		o := bed.Neg("EX1", 1)
		b.Register(o)
		start := time.Now()
		a := b.Request(o, b.Peer.Locator(), 3*time.Second).Within(bed.Ever)
		bed.IsCode(b, a.Err, grasp.ErrNoNegReply)
		require.True(b, isTimeout(a.Err), "%v", a.Err)
		require.Equal(b, 3*time.Second, a.At.Sub(start))

		a = b.Synchronize(bed.Syn("EX2", nil), b.Peer.Locator(), 3*time.Second).Within(bed.Ever)
		bed.IsCode(b, a.Err, grasp.ErrNoSynchReply)
		require.True(b, isTimeout(a.Err), "%v", a.Err)

		s, err := b.ASA.OpenSession(bed.Forever, o, b.Peer.Locator(), 0)
		require.NoError(b, err)
		_, err = s.Recv(bed.Forever, time.Second)
		bed.IsCode(b, err, grasp.ErrNoReply)
		require.True(b, isTimeout(err), "%v", err)

		// A peer that cannot be reached: dialing times out, with the call or
		// before.
		b.Links[0].SetDelay(time.Minute)
		for timeout, want := range map[time.Duration]time.Duration{time.Second: time.Second, 0: 5 * time.Second} {
			start = time.Now()
			a = b.Request(o, b.Peer.Locator(), timeout).Within(bed.Ever)
			bed.IsCode(b, a.Err, grasp.ErrSockErrNegRq)
			require.True(b, isTimeout(a.Err), "%v", a.Err)
			require.Equal(b, want, a.At.Sub(start))
		}
		b.Links[0].SetDelay(0)

		ctx, cancel := context.WithTimeout(bed.Forever, time.Second)
		defer cancel()
		_, _, err = b.ASA.ListenNegotiate(ctx, o)
		bed.IsCode(b, err, grasp.ErrCancelled)
		require.ErrorIs(b, err, context.DeadlineExceeded)
		require.True(b, isTimeout(err), "%v", err)

		_, _, err = b.ASA.ReqNegotiate(bed.Forever, bed.Neg("EX3", nil), nil, 0)
		bed.IsCode(b, err, grasp.ErrNotYourObj)
		require.False(b, isTimeout(err), "%v", err)
	})
}

// A closed instance is a closed thing in the sense of package net.
func TestErrorOfClosedInstance(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		require.NoError(b, b.G.Close())
		_, err := b.G.RegisterASA("late")
		bed.IsCode(b, err, grasp.ErrNoASA)
		require.ErrorIs(b, err, net.ErrClosed)
		err = b.ASA.RegisterObj(bed.Neg("EX1", nil), grasp.RegisterOptions{})
		bed.IsCode(b, err, grasp.ErrNoASA)
		require.ErrorIs(b, err, net.ErrClosed)
	})
}

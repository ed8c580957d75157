package acp

import (
	"context"
	"net/netip"
)

// Requester is an [Endpoint] that can open a stream and send the first message in one
// go, so that an answer takes one round trip instead of two.
//
// The peer may then get the message although DialWith fails, unless the error wraps
// [ErrUndelivered]; and the network may deliver it a second time, as the beginning of
// another stream: see Stream.Early. An endpoint that never does so does not implement
// Requester.
type Requester interface {
	// DialWith opens a stream to a peer, as Dial does, and writes a message to it. It
	// returns when the peer has accepted the stream.
	DialWith(ctx context.Context, to netip.AddrPort, msg []byte) (*Stream, error)
}

// ErrUndelivered is wrapped by the errors of DialWith (see [Requester]) if the peer cannot
// have got all of the message, so that it may be sent to another address.
const ErrUndelivered = constError("the message was not delivered")

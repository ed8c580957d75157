package graspybed

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Objective is an objective of graspy. A []byte value that is well-formed CBOR
// is sent as Tag 24, and a received Tag 24 is a []byte.
type Objective struct {
	Name      string `cbor:"name"`
	Neg       bool   `cbor:"neg"`
	Dry       bool   `cbor:"dry"`
	Synch     bool   `cbor:"synch"`
	LoopCount int    `cbor:"loop_count"`
	// Discoverable is the flag F_DISC, which graspy always gives as set.
	Discoverable bool `cbor:"discoverable"`
	Value        any  `cbor:"value"`
}

// MarshalCBOR implements [cbor.Marshaler].
func (o Objective) MarshalCBOR() ([]byte, error) {
	type plain Objective
	return cbor.Marshal(struct {
		Is string `cbor:"_"`
		plain
	}{"objective", plain(o)})
}

// Locator is an asa_locator of graspy.
type Locator struct {
	Kind     string `cbor:"kind"` // "ip", "fqdn", "uri", or empty for no locator
	Locator  string `cbor:"locator"`
	Protocol *int   `cbor:"protocol"`
	Port     *int   `cbor:"port"`
	IfIndex  int    `cbor:"ifi"`
	Diverted bool   `cbor:"diverted"`
	Expire   int    `cbor:"expire"`
}

// MarshalCBOR implements [cbor.Marshaler].
func (l Locator) MarshalCBOR() ([]byte, error) {
	type plain Locator
	return cbor.Marshal(struct {
		Is string `cbor:"_"`
		plain
	}{"locator", plain(l)})
}

// NewLocator returns the locator of an ASA that accepts TCP connections.
// link is the interface of graspy's node that leads there.
func NewLocator(at netip.AddrPort, link int) *Locator {
	return &Locator{
		Kind: "ip", Locator: at.Addr().WithZone("").String(),
		Protocol: new(6), Port: new(int(at.Port())), IfIndex: link,
	}
}

// Tagged is a tagged_objective of graspy.
type Tagged struct {
	Objective Objective `cbor:"objective"`
	Source    *Locator  `cbor:"source"`
	N         *int      `cbor:"n"` // tells graspy's own objects apart
}

// MarshalCBOR implements [cbor.Marshaler].
func (t Tagged) MarshalCBOR() ([]byte, error) {
	type plain Tagged
	return cbor.Marshal(struct {
		Is string `cbor:"_"`
		plain
	}{"tagged", plain(t)})
}

// Session is a session_handle of graspy.
type Session struct {
	Is string `cbor:"_"` // as it was given
	N  int    `cbor:"n"`
}

// Outcome is the result of req_negotiate and negotiate_step: an objective if
// Code is 0, and then a session unless the peer accepted; a reason, which may
// be empty, if it is 1.
type Outcome struct {
	Code      int
	Session   *Session
	Objective Objective
	Reason    string
}

// ASA is an ASA registered with graspy.
type ASA struct {
	p      *Peer
	handle int
}

// Options are the settings of graspy. The zero value is the default, which
// prints what is wrong with messages it gets.
type Options struct {
	// Selfing has graspy hear its own multicasts, and other processes on its
	// node hear them.
	Selfing bool
	// DULL turns on its insecure mode.
	DULL bool
}

// RegisterASA calls skip_dialogue and register_asa.
func (p *Peer) RegisterASA(t testing.TB, name string, opt Options) *ASA {
	t.Helper()
	var nothing any
	p.Call(t, []any{&nothing}, "skip_dialogue", KW{"selfing": opt.Selfing, "be_dull": opt.DULL, "figging": false})
	a := &ASA{p: p}
	var code int
	p.Call(t, []any{&code, &a.handle}, "register_asa", nil, name)
	if code != 0 {
		t.Fatalf("graspy %s: register_asa: %d", p.name, code)
	}
	return a
}

// code calls a function of the module that returns a code.
func (a *ASA) code(t testing.TB, name string, kw KW, args ...any) int {
	t.Helper()
	var code int
	a.p.Call(t, []any{&code}, name, kw, append([]any{a.handle}, args...)...)
	return code
}

// ok is code for a call that must succeed.
func (a *ASA) ok(t testing.TB, name string, kw KW, args ...any) {
	t.Helper()
	if code := a.code(t, name, kw, args...); code != 0 {
		t.Fatalf("graspy %s: %s: %d", a.p.name, name, code)
	}
}

// RegisterObj calls register_obj.
func (a *ASA) RegisterObj(t testing.TB, o Objective, kw KW) {
	t.Helper()
	a.ok(t, "register_obj", kw, o)
}

// DeregisterObj calls deregister_obj.
func (a *ASA) DeregisterObj(t testing.TB, o Objective) {
	t.Helper()
	a.ok(t, "deregister_obj", nil, o)
}

// Discover calls discover.
func (a *ASA) Discover(t testing.TB, o Objective, timeout time.Duration, flush bool) []Locator {
	t.Helper()
	var code int
	var found []Locator
	a.p.Call(t, []any{&code, &found}, "discover", KW{"flush": flush}, a.handle, o, timeout.Milliseconds())
	if code != 0 {
		t.Fatalf("graspy %s: discover: %d", a.p.name, code)
	}
	return found
}

// Negotiating is a call of req_negotiate or negotiate_step under way.
type Negotiating struct{ call *Call }

// Result waits until the call has returned. It may be called once.
func (n Negotiating) Result(within time.Duration) (Outcome, error) {
	var o Outcome
	var third cbor.RawMessage
	if err := n.call.Result(within, &o.Code, &o.Session, &third); err != nil {
		return Outcome{}, err
	}
	var into any = &o.Objective
	if o.Code != 0 {
		into = &o.Reason
	}
	return o, decoding.Unmarshal(third, into)
}

// ReqNegotiate calls req_negotiate without waiting for it. A nil locator has
// graspy discover one.
func (a *ASA) ReqNegotiate(o Objective, to *Locator, timeout time.Duration) Negotiating {
	return Negotiating{a.p.Go("req_negotiate", nil, a.handle, o, to, timeout.Milliseconds())}
}

// NegotiateStep calls negotiate_step without waiting for it.
func (a *ASA) NegotiateStep(s *Session, o Objective, timeout time.Duration) Negotiating {
	return Negotiating{a.p.Go("negotiate_step", nil, a.handle, s, o, timeout.Milliseconds())}
}

// OpenSession calls req_negotiate with noloop.
func (a *ASA) OpenSession(t testing.TB, o Objective, to *Locator) *Session {
	t.Helper()
	n := Negotiating{a.p.Go("req_negotiate", KW{"noloop": true}, a.handle, o, to, 5000)}
	got, err := n.Result(Patience)
	if err != nil || got.Code != 2 || got.Session == nil {
		t.Fatalf("graspy %s: req_negotiate with noloop: %+v, %v", a.p.name, got, err)
	}
	return got.Session
}

// NegotiateWait calls negotiate_wait.
func (a *ASA) NegotiateWait(t testing.TB, s *Session, timeout time.Duration) int {
	t.Helper()
	return a.code(t, "negotiate_wait", nil, s, timeout.Milliseconds())
}

// EndNegotiate calls end_negotiate. An empty reason is none.
func (a *ASA) EndNegotiate(t testing.TB, s *Session, accept bool, reason string) int {
	t.Helper()
	kw := KW{}
	if reason != "" {
		kw["reason"] = reason
	}
	return a.code(t, "end_negotiate", kw, s, accept)
}

// SendInvalid calls send_invalid.
func (a *ASA) SendInvalid(t testing.TB, s *Session, info any) int {
	t.Helper()
	return a.code(t, "send_invalid", KW{"info": info}, s)
}

// Listening is a call of listen_negotiate under way.
type Listening struct{ call *Call }

// ListenNegotiate calls listen_negotiate without waiting for a request.
func (a *ASA) ListenNegotiate(o Objective) Listening {
	return Listening{a.p.Go("listen_negotiate", nil, a.handle, o)}
}

// Result waits for a request. It may be called once.
func (l Listening) Result(within time.Duration) (*Session, Objective, error) {
	var code int
	var s *Session
	var o Objective
	err := l.call.Result(within, &code, &s, &o)
	if err == nil && code != 0 {
		err = fmt.Errorf("graspy %s: listen_negotiate: %d", l.call.p.name, code)
	}
	return s, o, err
}

// Send calls gsend.
func (a *ASA) Send(t testing.TB, s *Session, v any) {
	t.Helper()
	a.ok(t, "gsend", nil, s, v)
}

// Recv calls grecv.
func (a *ASA) Recv(t testing.TB, s *Session, timeout time.Duration) (int, any) {
	t.Helper()
	var code int
	var v any
	a.p.Call(t, []any{&code, &v}, "grecv", nil, a.handle, s, timeout.Milliseconds())
	return code, v
}

// Synchronize calls synchronize.
func (a *ASA) Synchronize(t testing.TB, o Objective, from *Locator, timeout time.Duration) (int, Objective) {
	t.Helper()
	var code int
	var got Objective
	a.p.Call(t, []any{&code, &got}, "synchronize", nil, a.handle, o, from, timeout.Milliseconds())
	return code, got
}

// ListenSynchronize calls listen_synchronize.
func (a *ASA) ListenSynchronize(t testing.TB, o Objective) {
	t.Helper()
	a.ok(t, "listen_synchronize", nil, o)
}

// StopSynchronize calls stop_synchronize.
func (a *ASA) StopSynchronize(t testing.TB, o Objective) {
	t.Helper()
	a.ok(t, "stop_synchronize", nil, o)
}

// Flood calls flood.
func (a *ASA) Flood(t testing.TB, ttl time.Duration, objs ...Tagged) {
	t.Helper()
	a.ok(t, "flood", nil, ttl.Milliseconds(), objs)
}

// ExpireFlood calls expire_flood.
func (a *ASA) ExpireFlood(t testing.TB, f Tagged) {
	t.Helper()
	a.ok(t, "expire_flood", nil, f)
}

// GetFlood calls get_flood.
func (a *ASA) GetFlood(t testing.TB, o Objective) []Tagged {
	t.Helper()
	var code int
	var got []Tagged
	a.p.Call(t, []any{&code, &got}, "get_flood", nil, a.handle, o)
	if code != 0 {
		t.Fatalf("graspy %s: get_flood: %d", a.p.name, code)
	}
	return got
}

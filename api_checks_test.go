package grasp

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/acp"
)

// scene is a call that is about to be made and could succeed.
type scene struct {
	*bed
	o Objective // registered
	s *Session  // about it, if the call is one on a session
}

// flaw is something wrong with a call, and the code that it brings about.
type flaw struct {
	code ErrorCode
	make func(*scene)
}

var (
	notBoth    = flaw{ErrNotBoth, func(c *scene) { c.o.Synch, c.o.Dry = true, true }}
	notDry     = flaw{ErrNotDry, func(c *scene) { c.o.Neg, c.o.Dry = false, true }}
	notNeg     = flaw{ErrNotNeg, func(c *scene) { c.o.Neg = false }}
	notSynch   = flaw{ErrNotSynch, func(c *scene) { c.o.Synch = false }}
	noASA      = flaw{ErrNoASA, func(c *scene) { require.NoError(c, c.asa.Deregister()) }}
	noSecurity = flaw{ErrNoSecurity, func(c *scene) { c.node.SetStatus(acp.Status{Reason: "test"}) }}
	noSession  = flaw{ErrNoSession, func(c *scene) { c.s.finish() }}
	notYourObj = flaw{ErrNotYourObj, func(c *scene) { require.NoError(c, c.asa.DeregisterObj(c.o)) }}
	notObj     = flaw{ErrNotObj, notYourObj.make}
	notUTF8    = flaw{ErrUnspec, func(c *scene) { c.o.Name = "\xff" }}
	noCBOR     = flaw{ErrCBORFail, func(c *scene) { c.o.Value = make(chan int) }}
	tooLong    = flaw{ErrTooLong, func(c *scene) { c.o.Value = string(make([]byte, 2049)) }}
	exhausted  = flaw{ErrLoopExhausted, func(c *scene) { c.o.LoopCount = 1 }}
	invalidNeg = flaw{ErrInvalidNeg, func(c *scene) { c.o.Name = "EX9"; c.register(c.o) }}
)

// checked is a call and the order in which it checks.
type checked struct {
	name  string
	o     Objective // registered for the scene
	call  func(*scene) error
	flaws []flaw // in the order of the checks
}

var noLocator = &Locator{IP: onLink(peerA, 0), Protocol: 41, Port: 1}

// Every call does its checks in the order of the RFC's author, whose programs
// may tell by the code: with several flaws, the first in the order counts.
var checkedCalls = []checked{
	{"RegisterObj", neg("EX1", nil),
		func(c *scene) error { return c.asa.RegisterObj(c.o, RegisterOptions{}) },
		[]flaw{noASA, notBoth, notDry, notUTF8, {ErrObjFull, func(c *scene) { c.g.objectives.limit = 1 }}, {ErrObjReg, func(*scene) {}}}},
	{"DeregisterObj", neg("EX1", nil),
		func(c *scene) error { return c.asa.DeregisterObj(c.o) },
		[]flaw{noASA, notObj}},
	{"Deregister", neg("EX1", nil),
		func(c *scene) error { return c.asa.Deregister() },
		[]flaw{noASA}},
	{"Discover", neg("EX1", nil),
		func(c *scene) error {
			_, err := c.asa.Discover(forever, c.o, 0, DiscoverOptions{})
			return err
		},
		[]flaw{noASA, notBoth, noSecurity, notUTF8}},
	{"ReqNegotiate", neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.asa.ReqNegotiate(forever, c.o, nil, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noCBOR, tooLong, {ErrNoDiscReply, func(*scene) {}}}},
	{"ReqNegotiate to nowhere", neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.asa.ReqNegotiate(forever, c.o, noLocator, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noCBOR, tooLong, {ErrUnusableLocator, func(*scene) {}}}},
	{"OpenSession", neg("EX1", nil),
		func(c *scene) error {
			_, err := c.asa.OpenSession(forever, c.o, nil, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noCBOR, tooLong, {ErrNoDiscReply, func(*scene) {}}}},
	{"ListenNegotiate", neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.asa.ListenNegotiate(forever, c.o)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity}},
	{"StopNegotiate", neg("EX1", nil),
		func(c *scene) error { return c.asa.StopNegotiate(c.o) },
		[]flaw{notBoth, noASA, notYourObj}},
	{"NegotiateStep", neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.s.NegotiateStep(forever, c.o, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noSession, invalidNeg, exhausted, noCBOR, tooLong}},
	{"NegotiateWait", neg("EX1", nil),
		func(c *scene) error { return c.s.NegotiateWait(-1) },
		[]flaw{noASA, noSecurity, noSession, {ErrUnspec, func(*scene) {}}}},
	{"EndNegotiate", neg("EX1", nil),
		func(c *scene) error { return c.s.EndNegotiate(false, "\xff") },
		[]flaw{noASA, noSecurity, noSession, {ErrUnspec, func(*scene) {}}}},
	{"EndNegotiate at length", neg("EX1", nil),
		func(c *scene) error { return c.s.EndNegotiate(false, string(make([]byte, 2048))) },
		[]flaw{noASA, noSecurity, noSession, {ErrTooLong, func(*scene) {}}}},
	{"SendInvalid", neg("EX1", nil),
		func(c *scene) error { return c.s.SendInvalid(make(chan int)) },
		[]flaw{noASA, noSecurity, noSession, {ErrCBORFail, func(*scene) {}}}},
	{"Send", neg("EX1", nil),
		func(c *scene) error { return c.s.Send(make(chan int)) },
		[]flaw{noASA, noSecurity, noSession, {ErrCBORFail, func(*scene) {}}}},
	{"Recv", neg("EX1", nil),
		func(c *scene) error {
			_, err := c.s.Recv(forever, 1)
			return err
		},
		[]flaw{noASA, noSecurity, noSession, {ErrNoReply, func(*scene) {}}}},
	{"Synchronize", syn("EX1", nil),
		func(c *scene) error {
			_, err := c.asa.Synchronize(forever, c.o, nil, 0)
			return err
		},
		[]flaw{noASA, notBoth, notSynch, noSecurity, {ErrNotFloodDisc, func(*scene) {}}}},
	{"Synchronize with nowhere", syn("EX1", nil),
		func(c *scene) error {
			_, err := c.asa.Synchronize(forever, c.o, noLocator, 0)
			return err
		},
		[]flaw{noASA, notBoth, notSynch, noSecurity, {ErrUnusableLocator, func(*scene) {}}}},
	{"ListenSynchronize", syn("EX1", nil),
		func(c *scene) error { return c.asa.ListenSynchronize(c.o) },
		[]flaw{notBoth, notSynch, noASA, notYourObj, noSecurity, noCBOR, tooLong}},
	{"StopSynchronize", syn("EX1", nil),
		func(c *scene) error { return c.asa.StopSynchronize(c.o) },
		[]flaw{notBoth, notSynch, noASA, notYourObj}},
	{"Flood", syn("EX1", nil),
		func(c *scene) error {
			return c.asa.Flood(0, TaggedObjective{Objective: c.o, Source: &Locator{FQDN: "a", URI: "b"}})
		},
		[]flaw{noSecurity, notBoth, notSynch, noASA, notYourObj, {ErrInvalidLoc, func(*scene) {}}}},
	{"Flood of nothing", syn("EX1", nil),
		func(c *scene) error { return c.asa.Flood(0) },
		[]flaw{noSecurity, {ErrUnspec, func(*scene) {}}}},
	{"Flood with a value", syn("EX1", nil),
		func(c *scene) error { return c.asa.Flood(0, TaggedObjective{Objective: c.o}) },
		[]flaw{noSecurity, notBoth, notSynch, noASA, notYourObj, noCBOR, tooLong}},
	{"GetFlood", syn("EX1", nil),
		func(c *scene) error {
			_, err := c.asa.GetFlood(c.o)
			return err
		},
		[]flaw{noASA, notBoth, notSynch}},
	{"ExpireFlood", syn("EX1", nil),
		func(c *scene) error {
			return c.asa.ExpireFlood(TaggedObjective{Objective: c.o, Source: &Locator{FQDN: "a", URI: "b"}})
		},
		[]flaw{noASA, {ErrInvalidLoc, func(*scene) {}}}},
}

// A-01 and the errors of each call: from each flaw on all later ones are
// there, too.
func TestA01OrderOfChecks(t *testing.T) {
	for _, call := range checkedCalls {
		for i, first := range call.flaws {
			t.Run(fmt.Sprintf("%s/%v", call.name, first.code), func(t *testing.T) {
				inBed(t, func(b *bed) {
					c := &scene{bed: b, o: call.o}
					b.register(call.o)
					if call.o.Neg {
						c.s, c.o, _ = b.served(call.o, 1, nil)
						c.o = call.o
					}
					for j := len(call.flaws) - 1; j >= i; j-- {
						call.flaws[j].make(c)
					}
					sent := b.tapped()
					err := call.call(c)
					isCode(b, err, first.code)
					require.NotContains(b, err.Error(), "%!", "the text")
					switch first.code {
					case ErrNoDiscReply, ErrNotFloodDisc:
					default:
						require.Zero(b, sent(), "something was sent")
						b.peer.notDialed()
					}
				})
			})
		}
	}
}

// Each flaw alone has its code, too.
func TestA01EachCheck(t *testing.T) {
	for _, call := range checkedCalls {
		for _, only := range call.flaws {
			t.Run(fmt.Sprintf("%s/%v", call.name, only.code), func(t *testing.T) {
				inBed(t, func(b *bed) {
					c := &scene{bed: b, o: call.o}
					b.register(call.o)
					if call.o.Neg {
						c.s, _, _ = b.served(call.o, 1, nil)
					}
					only.make(c)
					isCode(b, call.call(c), only.code)
				})
			})
		}
	}
}

// an ASA is its own handle, and can do nothing with what another ASA
// of the instance has registered.
func TestA01A10NotYourObj(t *testing.T) {
	inBed(t, func(b *bed) {
		o, s := neg("EX1", 1), syn("EX2", 1)
		b.register(o, s)
		other := newASA(b, b.g, "other")
		for name, err := range map[string]error{
			"DeregisterObj":     other.DeregisterObj(o),
			"StopNegotiate":     other.StopNegotiate(o),
			"ListenSynchronize": other.ListenSynchronize(s),
			"StopSynchronize":   other.StopSynchronize(s),
			"Flood":             other.Flood(0, TaggedObjective{Objective: s}),
			"ReqNegotiate":      b.requestBy(other, o, b.peer.locator(), 0).done().err,
			"ListenNegotiate":   b.listenBy(other, o).done().err,
		} {
			require.Equal(b, ErrNotYourObj, Code(err), name)
		}
		require.NoError(b, b.asa.DeregisterObj(o))
	})
}

// A registered objective is for what it was registered for.
func TestChecksAgainstTheRegistration(t *testing.T) {
	inBed(t, func(b *bed) {
		b.register(syn("EX1", 1), neg("EX2", 1), Objective{Name: "EX3"})
		isCode(b, b.request(neg("EX1", 1), nil, 0).done().err, ErrNotNeg)
		isCode(b, b.listen(neg("EX1", 1)).done().err, ErrNotNeg)
		isCode(b, b.request(neg("EX3", 1), nil, 0).done().err, ErrNotNeg)
		isCode(b, b.asa.ListenSynchronize(syn("EX2", 1)), ErrNotSynch)
		isCode(b, b.asa.ListenSynchronize(syn("EX3", 1)), ErrNotSynch)
		isCode(b, b.asa.Flood(0, TaggedObjective{Objective: syn("EX2", 1)}), ErrNotSynch)
	})
}

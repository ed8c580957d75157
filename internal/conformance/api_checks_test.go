package conformance

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/bed"
)

// scene is a call that is about to be made and could succeed.
type scene struct {
	*bed.Bed
	o grasp.Objective // registered
	s *grasp.Session  // about it, if the call is one on a session
}

// flaw is something wrong with a call, and the code that it brings about.
type flaw struct {
	code grasp.ErrorCode
	make func(*scene)
}

var (
	notBoth    = flaw{grasp.ErrNotBoth, func(c *scene) { c.o.Synch, c.o.Dry = true, true }}
	notDry     = flaw{grasp.ErrNotDry, func(c *scene) { c.o.Neg, c.o.Dry = false, true }}
	notNeg     = flaw{grasp.ErrNotNeg, func(c *scene) { c.o.Neg = false }}
	notSynch   = flaw{grasp.ErrNotSynch, func(c *scene) { c.o.Synch = false }}
	noASA      = flaw{grasp.ErrNoASA, func(c *scene) { require.NoError(c, c.ASA.Deregister()) }}
	noSecurity = flaw{grasp.ErrNoSecurity, func(c *scene) { c.Node.SetStatus(acp.Status{Reason: "test"}) }}
	noSession  = flaw{grasp.ErrNoSession, func(c *scene) { require.NoError(c, c.s.EndNegotiate(true, "")) }}
	notYourObj = flaw{grasp.ErrNotYourObj, func(c *scene) { require.NoError(c, c.ASA.DeregisterObj(c.o)) }}
	notObj     = flaw{grasp.ErrNotObj, notYourObj.make}
	notUTF8    = flaw{grasp.ErrUnspec, func(c *scene) { c.o.Name = "\xff" }}
	noCBOR     = flaw{grasp.ErrCBORFail, func(c *scene) { c.o.Value = make(chan int) }}
	tooLong    = flaw{grasp.ErrTooLong, func(c *scene) { c.o.Value = string(make([]byte, 2049)) }}
	exhausted  = flaw{grasp.ErrLoopExhausted, func(c *scene) { c.o.LoopCount = 1 }}
	objFull    = flaw{grasp.ErrObjFull, func(c *scene) {
		for i := len(c.G.Snapshot().Objectives); i < fewObjectives; i++ {
			c.Register(bed.Syn(fmt.Sprint("one of many ", i), nil))
		}
	}}
	invalidNeg = flaw{grasp.ErrInvalidNeg, func(c *scene) { c.o.Name = "EX9"; c.Register(c.o) }}
)

// fewObjectives is how many objectives the instance of a scene may have.
const fewObjectives = 4

// inScene runs a test of a call.
func inScene(t *testing.T, test func(b *bed.Bed)) {
	t.Helper()
	bed.InLinks(t, 1, grasp.Config{Limits: grasp.Limits{MaxObjectives: fewObjectives}}, test)
}

// checked is a call and the order in which it checks.
type checked struct {
	name  string
	o     grasp.Objective // registered for the scene
	call  func(*scene) error
	flaws []flaw // in the order of the checks
}

var noLocator = &grasp.Locator{IP: netip.MustParseAddr("fd00::a"), Protocol: 41, Port: 1}

// Every call does its checks in the order of the RFC's author, whose programs
// may tell by the code: with several flaws, the first in the order counts.
var checkedCalls = []checked{
	{"RegisterObj", bed.Neg("EX1", nil),
		func(c *scene) error { return c.ASA.RegisterObj(c.o, grasp.RegisterOptions{}) },
		[]flaw{noASA, notBoth, notDry, notUTF8, objFull, {grasp.ErrObjReg, func(*scene) {}}}},
	{"DeregisterObj", bed.Neg("EX1", nil),
		func(c *scene) error { return c.ASA.DeregisterObj(c.o) },
		[]flaw{noASA, notObj}},
	{"Deregister", bed.Neg("EX1", nil),
		func(c *scene) error { return c.ASA.Deregister() },
		[]flaw{noASA}},
	{"Discover", bed.Neg("EX1", nil),
		func(c *scene) error {
			_, err := c.ASA.Discover(bed.Forever, c.o, 0, grasp.DiscoverOptions{})
			return err
		},
		[]flaw{noASA, notBoth, noSecurity, notUTF8}},
	{"ReqNegotiate", bed.Neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.ASA.ReqNegotiate(bed.Forever, c.o, nil, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noCBOR, tooLong, {grasp.ErrNoDiscReply, func(*scene) {}}}},
	{"ReqNegotiate to nowhere", bed.Neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.ASA.ReqNegotiate(bed.Forever, c.o, noLocator, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noCBOR, tooLong, {grasp.ErrUnusableLocator, func(*scene) {}}}},
	{"OpenSession", bed.Neg("EX1", nil),
		func(c *scene) error {
			_, err := c.ASA.OpenSession(bed.Forever, c.o, nil, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noCBOR, tooLong, {grasp.ErrNoDiscReply, func(*scene) {}}}},
	{"ListenNegotiate", bed.Neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.ASA.ListenNegotiate(bed.Forever, c.o)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity}},
	{"StopNegotiate", bed.Neg("EX1", nil),
		func(c *scene) error { return c.ASA.StopNegotiate(c.o) },
		[]flaw{notBoth, noASA, notYourObj}},
	{"NegotiateStep", bed.Neg("EX1", nil),
		func(c *scene) error {
			_, _, err := c.s.NegotiateStep(bed.Forever, c.o, 0)
			return err
		},
		[]flaw{notBoth, noASA, notYourObj, notNeg, noSecurity, noSession, invalidNeg, exhausted, noCBOR, tooLong}},
	{"NegotiateWait", bed.Neg("EX1", nil),
		func(c *scene) error { return c.s.NegotiateWait(-1) },
		[]flaw{noASA, noSecurity, noSession, {grasp.ErrUnspec, func(*scene) {}}}},
	{"EndNegotiate", bed.Neg("EX1", nil),
		func(c *scene) error { return c.s.EndNegotiate(false, "\xff") },
		[]flaw{noASA, noSecurity, noSession, {grasp.ErrUnspec, func(*scene) {}}}},
	{"EndNegotiate at length", bed.Neg("EX1", nil),
		func(c *scene) error { return c.s.EndNegotiate(false, string(make([]byte, 2048))) },
		[]flaw{noASA, noSecurity, noSession, {grasp.ErrTooLong, func(*scene) {}}}},
	{"SendInvalid", bed.Neg("EX1", nil),
		func(c *scene) error { return c.s.SendInvalid(make(chan int)) },
		[]flaw{noASA, noSecurity, noSession, {grasp.ErrCBORFail, func(*scene) {}}}},
	{"Send", bed.Neg("EX1", nil),
		func(c *scene) error { return c.s.Send(make(chan int)) },
		[]flaw{noASA, noSecurity, noSession, {grasp.ErrCBORFail, func(*scene) {}}}},
	{"Recv", bed.Neg("EX1", nil),
		func(c *scene) error {
			_, err := c.s.Recv(bed.Forever, 1)
			return err
		},
		[]flaw{noASA, noSecurity, noSession, {grasp.ErrNoReply, func(*scene) {}}}},
	{"Synchronize", bed.Syn("EX1", nil),
		func(c *scene) error {
			_, err := c.ASA.Synchronize(bed.Forever, c.o, nil, 0)
			return err
		},
		[]flaw{noASA, notBoth, notSynch, noSecurity, {grasp.ErrNotFloodDisc, func(*scene) {}}}},
	{"Synchronize with nowhere", bed.Syn("EX1", nil),
		func(c *scene) error {
			_, err := c.ASA.Synchronize(bed.Forever, c.o, noLocator, 0)
			return err
		},
		[]flaw{noASA, notBoth, notSynch, noSecurity, {grasp.ErrUnusableLocator, func(*scene) {}}}},
	{"ListenSynchronize", bed.Syn("EX1", nil),
		func(c *scene) error { return c.ASA.ListenSynchronize(c.o) },
		[]flaw{notBoth, notSynch, noASA, notYourObj, noSecurity, noCBOR, tooLong}},
	{"StopSynchronize", bed.Syn("EX1", nil),
		func(c *scene) error { return c.ASA.StopSynchronize(c.o) },
		[]flaw{notBoth, notSynch, noASA, notYourObj}},
	{"Flood", bed.Syn("EX1", nil),
		func(c *scene) error {
			return c.ASA.Flood(0, grasp.TaggedObjective{Objective: c.o, Source: &grasp.Locator{FQDN: "a", URI: "b"}})
		},
		[]flaw{noSecurity, notBoth, notSynch, noASA, notYourObj, {grasp.ErrInvalidLoc, func(*scene) {}}}},
	{"Flood of nothing", bed.Syn("EX1", nil),
		func(c *scene) error { return c.ASA.Flood(0) },
		[]flaw{noSecurity, {grasp.ErrUnspec, func(*scene) {}}}},
	{"Flood with a value", bed.Syn("EX1", nil),
		func(c *scene) error { return c.ASA.Flood(0, grasp.TaggedObjective{Objective: c.o}) },
		[]flaw{noSecurity, notBoth, notSynch, noASA, notYourObj, noCBOR, tooLong}},
	{"GetFlood", bed.Syn("EX1", nil),
		func(c *scene) error {
			_, err := c.ASA.GetFlood(c.o)
			return err
		},
		[]flaw{noASA, notBoth, notSynch}},
	{"ExpireFlood", bed.Syn("EX1", nil),
		func(c *scene) error {
			return c.ASA.ExpireFlood(grasp.TaggedObjective{Objective: c.o, Source: &grasp.Locator{FQDN: "a", URI: "b"}})
		},
		[]flaw{noASA, {grasp.ErrInvalidLoc, func(*scene) {}}}},
}

// A-01 and the errors of each call: from each flaw on all later ones are
// there, too.
func TestA01OrderOfChecks(t *testing.T) {
	for _, call := range checkedCalls {
		for i, first := range call.flaws {
			t.Run(fmt.Sprintf("%s/%v", call.name, first.code), func(t *testing.T) {
				inScene(t, func(b *bed.Bed) {
					c := &scene{Bed: b, o: call.o}
					b.Register(call.o)
					if call.o.Neg {
						c.s, c.o, _ = b.Served(call.o, 1, nil)
						c.o = call.o
					}
					for j := len(call.flaws) - 1; j >= i; j-- {
						call.flaws[j].make(c)
					}
					sent := b.Tapped()
					err := call.call(c)
					bed.IsCode(b, err, first.code)
					require.NotContains(b, err.Error(), "%!", "the text")
					switch first.code {
					case grasp.ErrNoDiscReply, grasp.ErrNotFloodDisc:
					default:
						require.Zero(b, sent(), "something was sent")
						b.Peer.NotDialed()
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
				inScene(t, func(b *bed.Bed) {
					c := &scene{Bed: b, o: call.o}
					b.Register(call.o)
					if call.o.Neg {
						c.s, _, _ = b.Served(call.o, 1, nil)
					}
					only.make(c)
					bed.IsCode(b, call.call(c), only.code)
				})
			})
		}
	}
}

// an ASA is its own handle, and can do nothing with what another ASA
// of the instance has registered.
func TestA01A10NotYourObj(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		o, s := bed.Neg("EX1", 1), bed.Syn("EX2", 1)
		b.Register(o, s)
		other := bed.NewASA(b, b.G, "other")
		for name, err := range map[string]error{
			"DeregisterObj":     other.DeregisterObj(o),
			"StopNegotiate":     other.StopNegotiate(o),
			"ListenSynchronize": other.ListenSynchronize(s),
			"StopSynchronize":   other.StopSynchronize(s),
			"Flood":             other.Flood(0, grasp.TaggedObjective{Objective: s}),
			"ReqNegotiate":      b.RequestBy(other, o, b.Peer.Locator(), 0).Done().Err,
			"ListenNegotiate":   b.ListenBy(other, o).Done().Err,
		} {
			require.Equal(b, grasp.ErrNotYourObj, grasp.Code(err), name)
		}
		require.NoError(b, b.ASA.DeregisterObj(o))
	})
}

// A registered objective is for what it was registered for.
func TestChecksAgainstTheRegistration(t *testing.T) {
	bed.In(t, func(b *bed.Bed) {
		b.Register(bed.Syn("EX1", 1), bed.Neg("EX2", 1), grasp.Objective{Name: "EX3"})
		bed.IsCode(b, b.Request(bed.Neg("EX1", 1), nil, 0).Done().Err, grasp.ErrNotNeg)
		bed.IsCode(b, b.Listen(bed.Neg("EX1", 1)).Done().Err, grasp.ErrNotNeg)
		bed.IsCode(b, b.Request(bed.Neg("EX3", 1), nil, 0).Done().Err, grasp.ErrNotNeg)
		bed.IsCode(b, b.ASA.ListenSynchronize(bed.Syn("EX2", 1)), grasp.ErrNotSynch)
		bed.IsCode(b, b.ASA.ListenSynchronize(bed.Syn("EX3", 1)), grasp.ErrNotSynch)
		bed.IsCode(b, b.ASA.Flood(0, grasp.TaggedObjective{Objective: bed.Syn("EX2", 1)}), grasp.ErrNotSynch)
	})
}

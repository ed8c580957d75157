package scenario

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/acp/tlsplane"
	"github.com/go-grasp/grasp/internal/bed"
	"github.com/go-grasp/grasp/internal/domain"
	"github.com/go-grasp/grasp/internal/wire"
)

// tlsDomain is a domain whose members a test can revoke.
type tlsDomain struct {
	*testing.T
	domain *domain.Domain
	out    atomic.Pointer[string] // who is revoked
}

func newTLSDomain(t *testing.T) *tlsDomain {
	t.Helper()
	d, err := domain.New("testers")
	require.NoError(t, err)
	return &tlsDomain{T: t, domain: d}
}

// member returns a TLS plane for a member, over the links of another plane.
func (d *tlsDomain) member(name string, under acp.Plane) *tlsplane.Plane {
	d.Helper()
	cert, err := d.domain.Issue(name, time.Hour)
	require.NoError(d, err)
	static := tlsplane.Static{Member: cert, Anchors: d.domain.Roots()}
	return &tlsplane.Plane{Underlay: under, Credentials: tlsCredentials{static, d}}
}

type tlsCredentials struct {
	tlsplane.Static
	d *tlsDomain
}

func (c tlsCredentials) Revoked(chain []*x509.Certificate) error {
	if out := c.d.out.Load(); out != nil && chain[0].Subject.CommonName == *out {
		return errors.New("revoked by the test")
	}
	return nil
}

func TestScenarioOverTLSInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := memory.NewNetwork(1), newTLSDomain(t)
		a, b := n.NewLink(memory.LinkConfig{Delay: time.Millisecond}), n.NewLink(memory.LinkConfig{Delay: 2 * time.Millisecond})
		runScenario(t, d.member("left", n.NewNode("left", a)), d.member("middle", n.NewNode("middle", a, b)),
			d.member("right", n.NewNode("right", b)), time.Second, thoughts)
	})
}

// a session tells who the peer has proven to be, and ends when the peer
// is no longer a member.
func TestX02SessionOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := memory.NewNetwork(1), newTLSDomain(t)
		link := n.NewLink(memory.LinkConfig{Delay: time.Millisecond})
		left := bed.NewASA(t, bed.NewInstance(t, d.member("left.example", n.NewNode("left", link))), "asa")
		right := bed.NewASA(t, bed.NewInstance(t, d.member("right.example", n.NewNode("right", link))), "asa")
		o := grasp.Objective{Name: "EX3", Neg: true, LoopCount: 6, Value: 1}
		for _, a := range []*grasp.ASA{left, right} {
			require.NoError(t, a.RegisterObj(o, grasp.RegisterOptions{}))
		}
		got := make(chan *grasp.Session, 1)
		failed := make(chan error, 1)
		go func() {
			s, o, err := left.ListenNegotiate(t.Context(), o)
			got <- s
			if err == nil {
				_, _, err = s.NegotiateStep(t.Context(), o, time.Hour)
			}
			failed <- err
		}()
		synctest.Wait()
		mine, _, err := right.ReqNegotiate(t.Context(), o, nil, 0) // from a cold start
		require.NoError(t, err)
		theirs := <-got
		require.Equal(t, "left.example", mine.Identity())
		require.Equal(t, "right.example", theirs.Identity())
		require.Empty(t, (*grasp.Session)(nil).Identity())

		out := "right.example"
		d.out.Store(&out)
		err = <-failed
		require.Error(t, err)
		require.Contains(t, []grasp.ErrorCode{grasp.ErrNoNegReply, grasp.ErrNoPeer, grasp.ErrNoSecurity, grasp.ErrNoSession}, grasp.Code(err), "%v", err)
		time.Sleep(5 * time.Second)
		require.Empty(t, left.Instance().Snapshot().Sessions)

		// It knows itself that it is out.
		_, err = right.Discover(t.Context(), o, 0, grasp.DiscoverOptions{})
		require.ErrorIs(t, err, grasp.ErrNoSecurity)
		require.ErrorContains(t, err, "revoked by the test")
		_, err = left.Discover(t.Context(), o, 0, grasp.DiscoverOptions{})
		require.NoError(t, err, "and only it")
	})
}

// what is flooded or asked in clear by who is no member is neither cached
// nor answered nor relayed.
func TestX02ForgeryOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, d := memory.NewNetwork(1), newTLSDomain(t)
		link, beyond := n.NewLink(memory.LinkConfig{}), n.NewLink(memory.LinkConfig{})
		member := bed.NewASA(t, bed.NewInstance(t, d.member("left", n.NewNode("left", link, beyond))), "asa")
		forger := bed.NewASA(t, bed.NewInstance(t, n.NewNode("forger", link)), "forger") // on a plane without protection
		o := grasp.Objective{Name: "EX1", Synch: true, LoopCount: 6, Value: "forged"}
		require.NoError(t, forger.RegisterObj(o, grasp.RegisterOptions{Discoverable: true}))
		require.NoError(t, member.RegisterObj(grasp.Objective{Name: "EX2", LoopCount: 6}, grasp.RegisterOptions{Discoverable: true}))
		before := beyond.Stats().Sent
		require.NoError(t, forger.Flood(0, grasp.TaggedObjective{Objective: o}))
		found, err := forger.Discover(t.Context(), grasp.Objective{Name: "EX2", LoopCount: 6}, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)
		require.Empty(t, found)
		got, err := member.GetFlood(grasp.Objective{Name: "EX1", Synch: true})
		require.NoError(t, err)
		require.Empty(t, got)
		found, err = member.Discover(t.Context(), o, 0, grasp.DiscoverOptions{})
		require.NoError(t, err)
		require.Empty(t, found)
		require.Empty(t, member.Instance().Snapshot().Relayed)
		require.Less(t, beyond.Stats().Sent-before, uint64(5), "announcements only")

		// Nor over its streams.
		locator := grasp.NewLocator(netip.AddrPortFrom(member.Instance().Snapshot().Address, member.Instance().Snapshot().Port))
		_, err = forger.Synchronize(t.Context(), grasp.Objective{Name: "EX2", Synch: true, LoopCount: 6}, &locator, 0)
		require.Error(t, err)
		require.Zero(t, member.Instance().Snapshot().Received[wire.TypeReqSyn.String()])
	})
}

package grasp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"time"

	"github.com/go-grasp/grasp/acp"
	"github.com/go-grasp/grasp/internal/cache"
	"github.com/go-grasp/grasp/internal/loop"
	"github.com/go-grasp/grasp/internal/wire"
)

// Config is how an instance is set up. The zero value is ready to use. New
// copies it.
type Config struct {
	// Plane is the security and transport substrate; nil means acp.Layer2 on
	// all links.
	Plane acp.Plane
	// DULL makes this a Discovery Unsolicited Link-Local instance (RFC 8990
	// section 2.5.2): one that runs without security, beside a secure one. It
	// discovers and floods on the link only, with a loop count of 1, answers
	// with link-local addresses and relays nothing. Calls for anything else
	// return ErrNoSecurity, but for reading floods.
	//
	// It serves one link. New refuses a plane that has several; a link that comes later
	// is not used while the first one is there. When another link takes its place, such as
	// an interface that was made anew, the instance forgets what came by the first one.
	// Each further link needs an instance of its own.
	DULL bool
	// DULLObjectives are the names that a DULL instance deals with; empty
	// means AN_ACP and AN_Proxy.
	DULLObjectives []string
	// Rapid turns on rapid mode for all objectives: see RegisterOptions.
	Rapid bool
	// Authorize decides whether a peer may have what it asks this instance for: it
	// returns nil, or an error that says why not. After an error the connection is
	// closed without an answer, or the datagram dropped, and that is counted under
	// ReasonUnauthorized, traced, and logged with the error. Authorize is not called for
	// multicast discoveries, for floods, or for requests between ASAs of this instance.
	// It is called concurrently, and may block: the context ends after a minute, with the
	// instance, or when the connection has to give way to others (MaxIdle). It must not
	// call Instance.Close, which waits for it. Responses to discoveries carry no value in
	// rapid mode (RegisterOptions.Rapid), so that each value has to be asked for. If
	// Authorize is nil, members may have everything.
	Authorize func(ctx context.Context, r Request) error
	// Resolver finds the addresses of locators that give a name; nil means
	// that of the system.
	Resolver Resolver
	// TranslatedIPv4 says that IPv4 addresses are translated inside the
	// domain: they are then not passed on in Diverts (RFC 8990 section
	// 2.9.5.2).
	TranslatedIPv4 bool
	// RelayWait is the longest time that this node, as a relay, waits before it sends a
	// discovery or flood on another link; each wait is random. If another relay sends the
	// same message there meanwhile, byte for byte, this one does not ([ReasonRelayedByOther]).
	// That saves packets where many relays share a link. 0, the default, means that it
	// relays at once and always, which is what RFC 8990 sections 2.5.4.4 and 2.5.6.2 demand.
	// The most is 100 ms. Set it to 10 or 20 times the delay of the links, and only where
	// every node on a link hears all others: a node that does not hear the relay that was
	// first misses the message.
	RelayWait time.Duration
	// Logger gets what an operator must know; nil means that nothing is logged. Its
	// Handler holds up nobody if it blocks, except in Enabled; records that it is too
	// slow for are counted under ReasonSlowReceiver.
	Logger *slog.Logger
	// Trace is called for every message sent, received, relayed or dropped, as by
	// Instance.Observe, which can be called later; nil means that it is not.
	Trace func(Event)
	// Dialogue is how Tprint and its like behave.
	Dialogue Dialogue

	// Limits bounds what peers can make the instance hold or do.
	Limits
}

// maxRelayWait bounds Config.RelayWait: discoveries wait for answers as long for each
// relay on the way.
const maxRelayWait = discoveryStep

// withDefaults returns a copy with defaults for what is zero, or an error for
// what makes no sense.
func (c Config) withDefaults() (Config, error) {
	if c.Plane == nil {
		c.Plane = &acp.Layer2{}
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.DULLObjectives = slices.Clone(c.DULLObjectives)
	if len(c.DULLObjectives) == 0 {
		c.DULLObjectives = defaultDULL
	} else if !c.DULL {
		return c, errors.New("there are Config.DULLObjectives without Config.DULL")
	}
	if c.RelayWait < 0 || c.RelayWait > maxRelayWait {
		return c, fmt.Errorf("Config.RelayWait is %v, the least is 0 and the most %v", c.RelayWait, maxRelayWait)
	}
	var err error
	c.Limits, err = c.Limits.withDefaults()
	return c, err
}

// Limits bounds what peers, and the ASAs of the program, can make an instance hold or
// do. A field that is 0 has the default. What exceeds a limit is dropped and counted in
// Snapshot.Dropped, under the reason that the field names.
//
// A peer is who it has proven to be, on a plane on which peers prove that, or else a
// neighbour's IP address, or the first 64 bits of an IPv6 address from beyond the links;
// in what is multicast, always an address. Where one peer or neighbour could crowd
// out others, there is a bound for each beside the one for all. A table or cache that is
// full evicts the oldest entry of the largest holder.
type Limits struct {
	// MaxMessage is the longest message in bytes that is received ([ReasonTooLong]),
	// or sent by unicast; 0 means 2048 (GRASP_DEF_MAX_SIZE), which is also the
	// least. The most is 64 MiB. Peers must agree on more than the default.
	MaxMessage int
	// MaxNesting is how deep arrays, maps and tags of a message may nest
	// ([ReasonTooDeep]); 0 means 32, which is also the most.
	MaxNesting int
	// MaxItems is how many CBOR items a message may have ([ReasonTooManyItems]);
	// 0 means as many as it may have bytes.
	MaxItems int
	// MaxTransfer is the longest item in bytes that Session.Send and
	// Session.Recv carry ([ReasonTooLong]); 0 means 1 MiB.
	MaxTransfer int

	// MaxASAs bounds the ASAs of the instance; 0 means 1000. Beyond it
	// RegisterASA returns [ErrASAFull].
	MaxASAs int
	// MaxObjectives bounds the registered objectives; 0 means 20,000. Beyond it
	// RegisterObj returns [ErrObjFull].
	MaxObjectives int

	// MaxCached bounds the locators that discovery caches, and apart from that
	// the flooded values; 0 means 20,000. When a cache is full,
	// the least recently used entry of the neighbour that has most is evicted
	// ([ReasonCacheFull]).
	MaxCached int
	// CachedPerSource bounds those of one neighbour ([ReasonCacheFull]); 0 means
	// 15,000.
	CachedPerSource int
	// LocatorsPerObjective and FloodsPerObjective bound the cached locators and
	// the flooded values of one objective ([ReasonCacheFull]); 0 means 64 and 1024.
	LocatorsPerObjective int
	FloodsPerObjective   int
	// LocatorLifetime is how long a discovered locator is cached at most,
	// whatever its responder says ([ReasonLifetime]); 0 means 24 hours.
	LocatorLifetime time.Duration
	// FloodLifetime is how long a flooded value is cached at most
	// ([ReasonLifetime]); 0 means for as long as its flood says, be it for ever
	// (RFC 8990 section 2.8.11).
	FloodLifetime time.Duration
	// MaxFound bounds the locators that one call of Discover collects; 0 means
	// 256. The responses of one peer get a quarter of it at most
	// ([ReasonTooManyFound]).
	MaxFound int

	// MaxSessions bounds the sessions under way, those included that wait for
	// a listener; 0 means 20,000. Requests beyond it are refused by closing
	// ([ReasonTooManySessions]).
	MaxSessions int
	// SessionsPerPeer bounds the sessions that one peer, not this instance
	// itself, has started ([ReasonPeerSessions]); 0 means 15,000.
	SessionsPerPeer int
	// Backlog bounds the requests for one objective that wait for a call of
	// ListenNegotiate; 0 means 256. Beyond it requests are refused by closing
	// ([ReasonBacklogFull]): the new one, or the youngest of a peer that has more
	// of them waiting. Peers are served by turns.
	Backlog int
	// MaxWaits is how many times in a negotiation a peer may ask for more time
	// (M_WAIT) before the session is ended ([ReasonTooManyWaits]); 0 means
	// 10,000, which no honest peer needs.
	MaxWaits int
	// MaxWait is the longest time that one M_WAIT of a peer is granted
	// ([ReasonLongWait]); 0 means as long as it asks for, which is 49.7 days at most.
	// Set it where ASAs wait without a context that ends.
	MaxWait time.Duration

	// MaxIdle bounds the connections that have not said what they want, or that wait
	// for the results of a relayed discovery; 0 means 16,384. When full, a new one
	// evicts the oldest of the peer that has most ([ReasonTooManyIdle]). The process
	// needs a file descriptor for each.
	MaxIdle int
	// IdlePerPeer bounds those of one peer ([ReasonTooManyIdle]); 0 means 12,288.
	IdlePerPeer int
	// IdleMemory bounds the bytes of memory that such connections take, approximately;
	// over TLS they take most ([ReasonTooManyIdle]). 0 means 96 MiB. Garbage that the
	// runtime has not collected yet is not counted. A process that may take less than
	// 256 MiB should set this to a quarter of what it may take, beside GOMEMLIMIT.
	IdleMemory int
	// IdleTimeout is how long a connection may take to say what it wants
	// ([ReasonIdle]); 0 means 10 s.
	IdleTimeout time.Duration

	// RelayRate bounds the discoveries, and likewise the floods, that are relayed to
	// each link in a second ([ReasonRate]); 0 means 200. The neighbours heard on a link
	// share it, and each gets an eighth at least.
	RelayRate int
	// LogRate bounds the lines that go to Config.Logger in a second, and likewise
	// those of Dialogue.Diagnosing ([ReasonLogRate]); 0 means 100.
	LogRate int
}

// withDefaults returns a copy with defaults for what is zero, or an error for
// what makes no sense.
func (l Limits) withDefaults() (Limits, error) {
	for _, f := range []struct {
		name             string
		value            *int
		def, least, most int
	}{
		{"MaxMessage", &l.MaxMessage, wire.DefaultBytes, wire.DefaultBytes, maxValue},
		{"MaxNesting", &l.MaxNesting, wire.DefaultDepth, 8, wire.DefaultDepth},
		{"MaxItems", &l.MaxItems, max(l.MaxMessage, wire.DefaultElements), 64, math.MaxInt},
		{"MaxTransfer", &l.MaxTransfer, 1 << 20, 1, math.MaxInt},
		{"MaxASAs", &l.MaxASAs, 1000, 1, math.MaxInt},
		{"MaxObjectives", &l.MaxObjectives, 20_000, 1, math.MaxInt},
		{"MaxCached", &l.MaxCached, 20_000, 1, math.MaxInt},
		{"CachedPerSource", &l.CachedPerSource, 15_000, 1, math.MaxInt},
		{"LocatorsPerObjective", &l.LocatorsPerObjective, 64, 1, math.MaxInt},
		{"FloodsPerObjective", &l.FloodsPerObjective, 1024, 1, math.MaxInt},
		{"MaxFound", &l.MaxFound, 256, 1, math.MaxInt},
		{"MaxSessions", &l.MaxSessions, 20_000, 1, math.MaxInt},
		{"SessionsPerPeer", &l.SessionsPerPeer, 15_000, 1, math.MaxInt},
		{"Backlog", &l.Backlog, 256, 1, math.MaxInt},
		{"MaxWaits", &l.MaxWaits, 10_000, 1, math.MaxInt},
		{"MaxIdle", &l.MaxIdle, 16_384, 1, math.MaxInt},
		{"IdlePerPeer", &l.IdlePerPeer, 12_288, 1, math.MaxInt},
		{"IdleMemory", &l.IdleMemory, 96 << 20, 1, math.MaxInt},
		{"RelayRate", &l.RelayRate, loop.DefaultRate, 1, math.MaxInt},
		{"LogRate", &l.LogRate, 100, 1, math.MaxInt},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < f.least {
			return l, fmt.Errorf("%s is %d, the least is %d", "Config."+f.name, *f.value, f.least)
		}
		if *f.value > f.most {
			return l, fmt.Errorf("%s is %d, the most is %d", "Config."+f.name, *f.value, f.most)
		}
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"LocatorLifetime", &l.LocatorLifetime, 24 * time.Hour},
		{"FloodLifetime", &l.FloodLifetime, 0},
		{"MaxWait", &l.MaxWait, math.MaxUint32 * time.Millisecond},
		{"IdleTimeout", &l.IdleTimeout, 10 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < 0 {
			return l, fmt.Errorf("%s is %v, the least is 0", "Config."+f.name, *f.value)
		}
	}
	return l, nil
}

// messages returns what bounds a message.
func (l Limits) messages() wire.Limits {
	return wire.Limits{Bytes: l.MaxMessage, Depth: l.MaxNesting, Elements: l.MaxItems}
}

// transfers returns what bounds an item of Send and Recv.
func (l Limits) transfers() wire.Limits {
	return wire.Limits{Bytes: l.MaxTransfer, Depth: l.MaxNesting, Elements: l.MaxTransfer}
}

// cached returns what bounds a cache.
func (l Limits) cached(perObjective int) cache.Limits {
	return cache.Limits{All: l.MaxCached, PerObjective: perObjective, PerSource: l.CachedPerSource}
}

package conform_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/conform"
	"github.com/go-grasp/grasp/internal/longtest"
	"github.com/go-grasp/grasp/internal/netbed"
	"github.com/go-grasp/grasp/internal/wrongpeer"
)

// proofs say which flaw each check catches.
var proofs = map[string]wrongpeer.Flaw{
	"general/grammar-discovery":              wrongpeer.FlawNestedLocators,
	"general/grammar-negotiation":            wrongpeer.FlawNegotiateExtraItem,
	"general/grammar-synchronization":        wrongpeer.FlawSynchExtraItem,
	"general/unknown-type-multicast":         wrongpeer.FlawAnswersUnknownType,
	"general/unknown-type-unicast":           wrongpeer.FlawUnknownTypeIsRequest,
	"general/surplus-option-discovery":       wrongpeer.FlawStrictLength,
	"general/surplus-option-negotiation":     wrongpeer.FlawStrictLength,
	"general/surplus-option-synchronization": wrongpeer.FlawStrictLength,
	"general/initiator-4":                    wrongpeer.FlawInitiator16Only,
	"general/initiator-5":                    wrongpeer.FlawInitiatorAny,
	"general/session-id-range":               wrongpeer.FlawSessionIDAny,
	"general/loop-count-range":               wrongpeer.FlawLoopAny,
	"general/objective-shape":                wrongpeer.FlawShapeAny,
	"general/truncated":                      wrongpeer.FlawDiesOfRubbish,
	"general/no-array":                       wrongpeer.FlawDiesOfRubbish,
	"general/no-invalid-to-multicast":        wrongpeer.FlawInvalidToMulticast,
	"general/noop-multicast":                 wrongpeer.FlawAnswersNoop,
	"general/noop-unicast":                   wrongpeer.FlawAnswersNoop,
	"general/rubbish-unicast":                wrongpeer.FlawKeepsRubbishOpen,
	"general/name-utf8":                      wrongpeer.FlawNamePrefix,
	"general/name-case":                      wrongpeer.FlawNameFold,
	"general/name-bytes":                     wrongpeer.FlawNamePrefix,
	"general/flags-independent":              wrongpeer.FlawDemandsDiscFlag,
	"general/value-any":                      wrongpeer.FlawDemandsNull,
	"general/value-absent":                   wrongpeer.FlawDemandsValue,
	"general/value-zero":                     wrongpeer.FlawDemandsNull,
	"general/long-integers":                  wrongpeer.FlawShortestOnly,
	"general/indefinite-array":               wrongpeer.FlawDefiniteOnly,
	"general/indefinite-strings":             wrongpeer.FlawDefiniteOnly,
	"general/preferred-encoding":             wrongpeer.FlawLongIntegers,
	"general/unknown-flags":                  wrongpeer.FlawDemandsKnownFlags,

	"discovery/negotiation-objective":     wrongpeer.FlawAnswersOnlyLoop1,
	"discovery/synchronization-objective": wrongpeer.FlawAnswersOnlyLoop1,
	"discovery/session-id":                wrongpeer.FlawResponseOtherSID,
	"discovery/initiator":                 wrongpeer.FlawResponseOtherInitiator,
	"discovery/ttl":                       wrongpeer.FlawResponseTTL0,
	"discovery/locator":                   wrongpeer.FlawResponseNoLocator,
	"discovery/locator-reachable":         wrongpeer.FlawLocatorUnreachable,
	"discovery/locator-own":               wrongpeer.FlawLocatorLoopback,
	"discovery/same-link":                 wrongpeer.FlawResponseUDP,
	"discovery/closed":                    wrongpeer.FlawKeepsResponseOpen,
	"discovery/unknown":                   wrongpeer.FlawAnswersEverything,
	"discovery/equal-session-ids":         wrongpeer.FlawSessionByIDOnly,
	"discovery/repeated":                  wrongpeer.FlawAnswersOnce,
	"discovery/initiator-no-address":      wrongpeer.FlawAnswersToInitiator,
	"discovery/loop-count-0":              wrongpeer.FlawDiesOfLoop0,
	"discovery/unicast":                   wrongpeer.FlawDeafToUnicast,
	"discovery/unicast-tcp":               wrongpeer.FlawDeafToUnicastTCP,
	"discovery/not-rapid-negotiation":     wrongpeer.FlawRapid,
	"discovery/not-rapid-synchronization": wrongpeer.FlawRapid,
	"discovery/unasked-response":          wrongpeer.FlawDiesOfResponse,

	"relay/relayed":           wrongpeer.FlawRelaysNothing,
	"relay/session-id":        wrongpeer.FlawRelayOtherSID,
	"relay/initiator":         wrongpeer.FlawRelayOtherInitiator,
	"relay/initiator-4":       wrongpeer.FlawInitiator16Only,
	"relay/flags":             wrongpeer.FlawRelaySetsDisc,
	"relay/value":             wrongpeer.FlawRelayReencodes,
	"relay/no-value":          wrongpeer.FlawRelayAddsNull,
	"relay/loop-count":        wrongpeer.FlawRelayKeepsLoop,
	"relay/loop-count-1":      wrongpeer.FlawRelayLoop1,
	"relay/loop-count-0":      wrongpeer.FlawRelayLoop0,
	"relay/once":              wrongpeer.FlawRelayTwice,
	"relay/loop":              wrongpeer.FlawRelayBackRound,
	"relay/not-back":          wrongpeer.FlawRelayEcho,
	"relay/equal-session-ids": wrongpeer.FlawSessionByIDOnly,
	"relay/supported":         wrongpeer.FlawRelaySupported,
	"relay/malformed":         wrongpeer.FlawInitiatorAny,
	"relay/response-port":     wrongpeer.FlawRelayPortClosed,
	"relay/result":            wrongpeer.FlawRelayNoResult,
	"relay/result-ids":        wrongpeer.FlawResultOtherSID,
	"relay/result-locator":    wrongpeer.FlawResultOwnLocator,
	"relay/foreign-response":  wrongpeer.FlawTakesForeignResponse,
	"relay/rate":              wrongpeer.FlawRelayUnlimited,

	"cache/divert":             wrongpeer.FlawNoCache,
	"cache/grammar":            wrongpeer.FlawNestedDivert,
	"cache/several":            wrongpeer.FlawCachesOne,
	"cache/several-responders": wrongpeer.FlawCachesOne,
	"cache/not-where-learned":  wrongpeer.FlawDivertWhereLearned,
	"cache/expired":            wrongpeer.FlawKeepsExpired,
	"cache/ttl":                wrongpeer.FlawDivertTTLLong,
	"cache/no-link-local":      wrongpeer.FlawDivertLinkLocal,
	"cache/no-mdns":            wrongpeer.FlawDivertMDNS,
	"cache/fqdn":               wrongpeer.FlawDropsNames,
	"cache/uri":                wrongpeer.FlawDropsNames,
	"cache/no-own-addresses":   wrongpeer.FlawDivertLoopback,
	"cache/unknown-option":     wrongpeer.FlawStrictOptions,
	"cache/objective":          wrongpeer.FlawStrictResponse,
	"cache/learned-divert":     wrongpeer.FlawDropsDivert,
	"cache/ttl-0":              wrongpeer.FlawTTL0Expired,
	"cache/not-relayed":        wrongpeer.FlawRelaySupported,
	"cache/foreign-session":    wrongpeer.FlawTakesForeignResponse,

	"flood/relayed":                    wrongpeer.FlawRelaysNothing,
	"flood/session-id":                 wrongpeer.FlawRelayOtherSID,
	"flood/initiator":                  wrongpeer.FlawRelayOtherInitiator,
	"flood/ttl":                        wrongpeer.FlawFloodTTL,
	"flood/unchanged":                  wrongpeer.FlawRelayReencodes,
	"flood/loop-count":                 wrongpeer.FlawRelayKeepsLoop,
	"flood/other-loop-counts":          wrongpeer.FlawFloodDecrementsAll,
	"flood/loop-count-1":               wrongpeer.FlawRelayLoop1,
	"flood/loop-count-0":               wrongpeer.FlawRelayLoop0,
	"flood/once":                       wrongpeer.FlawRelayTwice,
	"flood/once-in-two-minutes":        wrongpeer.FlawForgetsFloods,
	"flood/loop":                       wrongpeer.FlawRelayBackRound,
	"flood/not-back":                   wrongpeer.FlawRelayEcho,
	"flood/equal-session-ids":          wrongpeer.FlawSessionByIDOnly,
	"flood/link-local":                 wrongpeer.FlawFloodLinkLocal,
	"flood/link-local-unknown-locator": wrongpeer.FlawFloodLinkLocalUnknown,
	"flood/no-locator":                 wrongpeer.FlawFloodDemandsLocator,
	"flood/no-value":                   wrongpeer.FlawDemandsValue,
	"flood/many-objectives":            wrongpeer.FlawFloodFirstOnly,
	"flood/unknown-locator":            wrongpeer.FlawStrictOptions,
	"flood/long-locator":               wrongpeer.FlawStrictOptions,
	"flood/unknown-option":             wrongpeer.FlawStrictOptions,
	"flood/other-protocols":            wrongpeer.FlawStrictProtocols,
	"flood/unanswered":                 wrongpeer.FlawAnswersFlood,
	"flood/malformed":                  wrongpeer.FlawInitiatorAny,
	"flood/rate":                       wrongpeer.FlawRelayUnlimited,

	"negotiation/answered":             wrongpeer.FlawNegotiatesSilently,
	"negotiation/session-id":           wrongpeer.FlawNegotiateOtherSID,
	"negotiation/objective":            wrongpeer.FlawNegotiateOtherName,
	"negotiation/flags":                wrongpeer.FlawNegotiateNoFlag,
	"negotiation/value":                wrongpeer.FlawNegotiateNoValue,
	"negotiation/loop-count":           wrongpeer.FlawNegotiateKeepsLoop,
	"negotiation/loop-count-exhausted": wrongpeer.FlawNegotiateLoop0,
	"negotiation/nobody":               wrongpeer.FlawKeepsUnknownOpen,
	"negotiation/closed-after-accept":  wrongpeer.FlawKeepsOpenAfterEnd,
	"negotiation/closed-after-decline": wrongpeer.FlawKeepsOpenAfterEnd,
	"negotiation/decline-reason":       wrongpeer.FlawStrictDecline,
	"negotiation/no-answer-to-end":     wrongpeer.FlawAnswersEnd,
	"negotiation/concurrent":           wrongpeer.FlawOneAtATime,
	"negotiation/session-id-clash":     wrongpeer.FlawTakesClash,
	"negotiation/other-objective":      wrongpeer.FlawTakesOtherObjective,
	"negotiation/no-negotiation-flag":  wrongpeer.FlawTakesNoFlag,
	"negotiation/other-session-id":     wrongpeer.FlawTakesOtherSID,
	"negotiation/end-without-option":   wrongpeer.FlawTakesAnyEnd,
	"negotiation/no-session":           wrongpeer.FlawTakesStepAsRequest,
	"negotiation/invalid-unanswered":   wrongpeer.FlawAnswersInvalid,
	"negotiation/invalid-session-id":   wrongpeer.FlawInvalidOtherSID,
	"negotiation/accept-in-step":       wrongpeer.FlawStrictLength,
	"negotiation/two-steps":            wrongpeer.FlawDiesOfTwoSteps,
	"negotiation/many":                 wrongpeer.FlawFewSessions,
	"negotiation/null":                 wrongpeer.FlawDemandsRequestValue,
	"negotiation/loop-count-255":       wrongpeer.FlawLoopCountSigned,

	"dry/answered":        wrongpeer.FlawClosesDry,
	"dry/stays-dry":       wrongpeer.FlawDropsDry,
	"dry/stays-live":      wrongpeer.FlawAddsDry,
	"dry/live-turns-dry":  wrongpeer.FlawMixesDry,
	"dry/dry-turns-live":  wrongpeer.FlawMixesDry,
	"wait/initiator":      wrongpeer.FlawEndsOnWait,
	"wait/unanswered":     wrongpeer.FlawAnswersWait,
	"wait/surplus-option": wrongpeer.FlawStrictLength,
	"wait/many":           wrongpeer.FlawFewWaits,
	"wait/no-session":     wrongpeer.FlawTakesWaitAsRequest,
	"wait/expired":        wrongpeer.FlawNeverExpires,
	"wait/timer":          wrongpeer.FlawNeverExpires,

	"wait/longer-than-default": wrongpeer.FlawWaitNotLonger,

	"synchronization/answered":       wrongpeer.FlawSynchMute,
	"synchronization/session-id":     wrongpeer.FlawSynchOtherSID,
	"synchronization/objective":      wrongpeer.FlawSynchOtherName,
	"synchronization/flags":          wrongpeer.FlawSynchNoFlag,
	"synchronization/value":          wrongpeer.FlawSynchNoValue,
	"synchronization/closed":         wrongpeer.FlawKeepsOpenAfterSynch,
	"synchronization/nobody":         wrongpeer.FlawKeepsUnknownOpen,
	"synchronization/not-negotiated": wrongpeer.FlawSynchNegotiated,
	"synchronization/no-negotiation": wrongpeer.FlawNegotiatesSynch,
	"synchronization/no-value":       wrongpeer.FlawDemandsValue,
	"synchronization/value-zero":     wrongpeer.FlawDemandsNull,
	"synchronization/concurrent":     wrongpeer.FlawOneAtATime,
	"synchronization/loop-count-1":   wrongpeer.FlawSynchLoop6,
	"synchronization/many":           wrongpeer.FlawFewSessions,

	"size/2048-negotiation":     wrongpeer.FlawSmallBuffer,
	"size/1232-discovery":       wrongpeer.FlawSmallBuffer,
	"size/sent-negotiation":     wrongpeer.FlawLongMessages,
	"size/sent-synchronization": wrongpeer.FlawLongMessages,
	"size/endless":              wrongpeer.FlawReadsForEver,
	"size/many-items":           wrongpeer.FlawDiesOfRubbish,
	"size/nested":               wrongpeer.FlawDiesOfDepth,

	"dull/answered":             wrongpeer.FlawAnswersFirstOnly,
	"dull/loop-count":           wrongpeer.FlawDULLAnyLoop,
	"dull/source":               wrongpeer.FlawDULLAnySource,
	"dull/unknown":              wrongpeer.FlawAnswersEverything,
	"dull/locator":              wrongpeer.FlawDULLGlobalLocator,
	"dull/no-divert":            wrongpeer.FlawDULLDivert,
	"dull/no-relayed-discovery": wrongpeer.FlawDULLRelays,
	"dull/no-relayed-flood":     wrongpeer.FlawDULLRelays,
	"dull/sent-loop-count":      wrongpeer.FlawDULLFloods6,
	"dull/rubbish":              wrongpeer.FlawDiesOfRubbish,

	"robustness/dribble":          wrongpeer.FlawOneRead,
	"robustness/halves":           wrongpeer.FlawOneRead,
	"robustness/coalesced":        wrongpeer.FlawOneRead,
	"robustness/idle":             wrongpeer.FlawOneAtATime,
	"robustness/half-sent":        wrongpeer.FlawOneAtATime,
	"robustness/service-goes-on":  wrongpeer.FlawStopsServing,
	"robustness/reset":            wrongpeer.FlawDiesOfReset,
	"robustness/half-closed":      wrongpeer.FlawDiesOfReset,
	"robustness/unreachable":      wrongpeer.FlawDiesOfRefusal,
	"robustness/rubbish":          wrongpeer.FlawDiesOfRubbish,
	"robustness/rubbish-unicast":  wrongpeer.FlawDiesOfRubbish,
	"robustness/many-discoveries": wrongpeer.FlawTires,
	"robustness/many-floods":      wrongpeer.FlawTires,
}

// aSecond is how long the seconds of slow checks last at first, here and in the peer.
const aSecond = 20 * time.Millisecond

// trial is a run against a peer, on links of its own.
type trial struct {
	bed      int
	flaw     wrongpeer.Flaw
	dull     bool
	slow     bool // only what is slow, in seconds of another length
	patience time.Duration
	quiet    time.Duration
	only     []string
}

// judge runs the trial, until it is settled or has been run five times. Each time has a
// new peer, because one that answers once only is not found a second time; and each is
// longer than the one before, because what is late on a busy machine is taken for absent.
func (r trial) judge(t *testing.T, settled func(*conform.Report) bool) *conform.Report {
	t.Helper()
	var mine, its []string
	for link := range 2 {
		a, b := fmt.Sprintf("j%d-%d", r.bed, link), fmt.Sprintf("t%d-%d", r.bed, link)
		netbed.VethPair(t, a, b)
		netbed.LinkLocal(t, a)
		netbed.LinkLocal(t, b)
		mine, its = append(mine, a), append(its, b)
	}
	if r.dull {
		netbed.AddAddr(t, mine[0], fmt.Sprintf("fd00:%x::1/64", r.bed))
	}
	const times = 5
	second := aSecond
	for n := 1; ; n++ {
		report, err := r.run(t, second, mine, its)
		if err == nil && settled(report) || n == times || !errors.Is(err, conform.ErrNoTarget) && err != nil {
			require.NoError(t, err)
			return report
		}
		t.Logf("time %d: not settled: %v", n, err)
		r.patience, r.quiet, second = min(2*r.patience, 30*time.Second), 2*r.quiet, 2*second
	}
}

// run runs the trial once.
func (r trial) run(t *testing.T, second time.Duration, mine, its []string) (*conform.Report, error) {
	t.Helper()
	peer := wrongpeer.Config{Links: its, Negotiate: negotiated, Synch: synchronized, DULL: r.dull, Wrong: r.flaw}
	cfg := conform.Config{
		Links: mine, Negotiate: negotiated, Synch: synchronized, Value: []byte("\x69a request"), DULL: r.dull,
		Slow: r.slow, Only: r.only, Patience: r.patience, Quiet: r.quiet,
	}
	if r.dull {
		peer.Negotiate, cfg.Negotiate = "", ""
	}
	if r.slow {
		peer.Second, cfg = second, cfg.InSeconds(second)
	}
	p, err := wrongpeer.Start(peer)
	require.NoError(t, err)
	defer p.Close()
	return conform.Run(t.Context(), cfg)
}

// verdict is that of a check in a report.
func verdict(report *conform.Report, check string) (r conform.Result) {
	for _, x := range report.Results {
		if x.Check.Name == check {
			r = x
		}
	}
	return r
}

// A right peer passes all checks.
func TestRightPeer(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	var slow []string
	notJudged := make(map[string]string) // why
	for _, c := range conform.Checks() {
		notJudged[c.Name] = "not run"
		if c.Slow() {
			slow = append(slow, c.Name)
		}
	}
	for bed, r := range []trial{{}, {slow: true, only: slow}, {dull: true}, {dull: true, slow: true, only: slow}} {
		r.bed, r.patience, r.quiet = bed, 30*time.Second, 200*time.Millisecond
		report := r.judge(t, func(report *conform.Report) bool {
			late := func(x conform.Result) bool {
				return x.Verdict == conform.Fail || x.Verdict == conform.Skipped && strings.Contains(x.Why, "nothing within")
			}
			return !r.slow || !slices.ContainsFunc(report.Results, late) // its seconds may be too short for a busy machine
		})
		for _, x := range report.Results {
			if x.Verdict == conform.Skipped {
				if _, ok := notJudged[x.Check.Name]; ok {
					notJudged[x.Check.Name] = x.Why
				}
				continue
			}
			delete(notJudged, x.Check.Name)
			assert.True(t, x.Verdict == conform.Pass, "%s: %s", x.Check.Name, x.Why)
		}
		t.Logf("%v, %d datagrams, %d connections", report.Took, report.Datagrams, report.Connections)
	}
	assert.Empty(t, notJudged, "checks that have not judged the right peer")
}

// Each check fails against a peer that is wrong in the way that it is for.
func TestEachCheckCanFail(t *testing.T) {
	longtest.Need(t)
	if !netbed.Enter(t) {
		return
	}
	checks := conform.Checks()
	names := make(map[string]bool)
	beds := make(chan int, len(checks))
	for i, c := range checks {
		assert.False(t, names[c.Name], "two checks have the name %s", c.Name)
		names[c.Name] = true
		beds <- i
	}
	close(beds)
	var group sync.WaitGroup
	for range 16 { // they wait more than they work, and more than these would be late on a busy machine
		group.Go(func() {
			for bed := range beds {
				t.Run(checks[bed].Name, func(t *testing.T) { canFail(t, bed, checks[bed]) })
			}
		})
	}
	group.Wait()
}

func canFail(t *testing.T, bed int, c conform.Check) {
	flaw := proofs[c.Name]
	require.NotEmpty(t, flaw, "no wrong target")
	r := trial{
		bed: bed, flaw: flaw, dull: c.Group() == "dull", slow: c.Slow(), patience: 1500 * time.Millisecond,
		quiet: 1500 * time.Millisecond, only: []string{c.Name},
	}
	x := verdict(r.judge(t, func(report *conform.Report) bool { return verdict(report, c.Name).Verdict == conform.Fail }), c.Name)
	assert.True(t, x.Verdict == conform.Fail, "%s against %q: %s", x.Verdict, flaw, x.Why)
	t.Logf("%s: %s", flaw, x.Why)
}

package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-grasp/grasp/internal/hosttoken"
)

// What following other monitors costs at most.
const (
	maxFollows  = 256
	maxAnswer   = 8 << 20         // bytes of a state
	maxAnswers  = 64 << 20        // of those of all
	followTime  = 2 * time.Second // between two questions
	answerLimit = 5 * time.Second // for an answer
	patience    = time.Second     // how long a page waits for answers
)

// follow is a monitor that this one follows.
type follow struct {
	name, url string // of the page
	token     string

	mu      sync.Mutex // guards all following fields
	asking  bool
	asked   time.Time
	state   State
	trouble string
}

// Follow shows the instances of another monitor on the network page, under the name or,
// if that is empty, under the names that they have there. The address is the URL of the
// other monitor's page, with its token, if it has one, as the parameter token. Follow
// asks that monitor only while somebody looks at the network, and at most every two
// seconds. stop ends that.
//
// Follow does not block. It fails if the address is not a URL, if it is followed already,
// if 256 are, and if this monitor is closed.
func (m *Monitor) Follow(name, address string) (stop func(), err error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("monitor: follow: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("monitor: follow: %s is no URL of a monitor", address)
	}
	f := &follow{name: strings.ToValidUTF8(name, "\ufffd"), token: u.Query().Get("token")}
	if f.token == "" && m.token != "" {
		f.token = hosttoken.Derive(m.token, u.Host)
	}
	u.RawQuery, u.Fragment = "", ""
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	f.url = u.String()
	if err := m.addFollow(f); err != nil {
		return nil, err
	}
	return func() { m.removeFollow(f) }, nil
}

func (m *Monitor) addFollow(f *follow) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return errors.New("monitor: follow: it is closed")
	case len(m.follows) >= maxFollows:
		return fmt.Errorf("monitor: follow %s: %d are followed, which is the most", f.url, maxFollows)
	case slices.ContainsFunc(m.follows, func(other *follow) bool { return other.url == f.url }):
		return fmt.Errorf("monitor: follow %s: it is followed already", f.url)
	}
	m.follows = append(m.follows, f)
	return nil
}

func (m *Monitor) removeFollow(f *follow) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.follows = slices.DeleteFunc(m.follows, func(other *follow) bool { return other == f })
}

// followed returns the monitors that are followed.
func (m *Monitor) followed() []*follow {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.follows)
}

// Network puts together what this monitor and those that it follows know. It asks those
// that it has not asked in the last two seconds, and waits for their answers for a second
// at most, or until the context ends. Answers that come later are in the next Network.
func (m *Monitor) Network(ctx context.Context) Network {
	all := m.followed()
	m.ask(ctx, all)
	sources := []source{{state: m.State()}}
	for _, f := range all {
		f.mu.Lock()
		sources = append(sources, source{name: f.name, url: f.url, trouble: f.trouble, state: f.state})
		f.mu.Unlock()
	}
	return network(m.caption, time.Now(), sources)
}

// ask asks the monitors that were not asked lately.
func (m *Monitor) ask(ctx context.Context, all []*follow) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := time.Now()
	var asked []chan struct{}
	for _, f := range all {
		if done := f.begin(m, now); done != nil {
			asked = append(asked, done)
		}
	}
	for _, done := range asked {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// begin asks a monitor, unless it is being asked or was asked lately: then it returns nil.
func (f *follow) begin(m *Monitor, now time.Time) (done chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asking || now.Sub(f.asked) < followTime {
		return nil
	}
	done = make(chan struct{})
	begun := m.start(func() {
		defer close(done)
		_ = f.keep(f.fetch(m.ctx, m.share(), &m.parsing)) // it is shown
	})
	if !begun {
		return nil
	}
	f.asking, f.asked = true, now
	return done
}

// keep keeps an answer, or what is wrong with it, which it returns.
func (f *follow) keep(s State, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asking = false
	switch {
	case err == nil:
		f.state, f.trouble = s, ""
	case errors.Is(err, errTooMuch):
		f.state = State{}
		fallthrough
	default:
		f.trouble = err.Error()
	}
	return err
}

// share returns how many bytes of a state are kept of each monitor that is followed.
func (m *Monitor) share() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return min(maxAnswer, maxAnswers/max(1, len(m.follows)))
}

// start runs a function in a goroutine that Close waits for; the function must end with
// m.ctx. It returns false if the monitor is closed already.
func (m *Monitor) start(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.working.Go(f)
	return true
}

// asker is the client that asks monitors. It follows no redirects.
var asker = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// errTooMuch is the error of a state that is longer than its share.
var errTooMuch = errors.New("it says more than")

// fetch asks for the state, of which the JSON may have so many bytes. parsing is held while
// that is decoded, so that no two are at the same time: a State may be much larger than what
// it is decoded from, until what is not shown is dropped.
func (f *follow) fetch(ctx context.Context, share int, parsing sync.Locker) (s State, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"snapshot?"+forNetwork, nil)
	if err != nil {
		return s, err
	}
	if f.token != "" {
		r.Header.Set("Authorization", "Bearer "+f.token)
	}
	response, err := asker.Do(r)
	if err != nil {
		return s, plainError(err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return s, errors.New("it wants its token")
	default:
		return s, fmt.Errorf("it says %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(share)+1))
	if err != nil {
		return s, plainError(err)
	}
	parsing.Lock()
	defer parsing.Unlock()
	return parseState(body, share)
}

// parseState decodes a state and leaves of it what is shown. Neither it nor that may be
// longer, in JSON, than the share.
func parseState(body []byte, share int) (s State, err error) {
	tooMuch := fmt.Errorf("%w %s", errTooMuch, sizeText(share))
	if len(body) > share {
		return s, tooMuch
	}
	if err := json.Unmarshal(body, &s); err != nil || s.Time.IsZero() {
		return State{}, errors.New("what it says is not the state of a monitor")
	}
	s = s.forNetwork()
	if kept, err := json.Marshal(&s); err != nil || len(kept) > share {
		return State{}, tooMuch
	}
	return s, nil
}

// sizeText returns a number of bytes as people say it.
func sizeText(bytes int) string {
	if bytes%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// plainError returns the cause of a failed request, without the method and the URL.
func plainError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("none in time: the program hangs, or the host is down or out of reach")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

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
		s, err := f.fetch(m.ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asking = false
		if err != nil {
			f.trouble = err.Error()
			return
		}
		f.state, f.trouble = s, ""
	})
	if !begun {
		return nil
	}
	f.asking, f.asked = true, now
	return done
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

// fetch asks for the state.
func (f *follow) fetch(ctx context.Context) (s State, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"snapshot", nil)
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
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return s, plainError(err)
	}
	if len(body) > maxAnswer {
		return s, fmt.Errorf("it says more than %d MiB", maxAnswer>>20)
	}
	if err := json.Unmarshal(body, &s); err != nil || s.Time.IsZero() {
		return State{}, errors.New("what it says is not the state of a monitor")
	}
	s.bound()
	return s, nil
}

// What is taken of another monitor's state at most. Of the lists that are compared with
// each other, no honest one says more.
const (
	maxStateLinks = 4096 // of all instances
	maxRefused    = 16   // see acp.Neighbourhood
)

// bound cuts what is too long, so that a monitor that lies costs little to look at.
func (s *State) bound() {
	s.Instances = s.Instances[:min(len(s.Instances), maxNodes)]
	room := maxStateLinks
	for i := range s.Instances {
		is := &s.Instances[i]
		shot := &is.Snapshot
		is.Name = firstLetters(is.Name)
		is.Heard = is.Heard[:min(len(is.Heard), maxHeard)]
		shot.Refusals = shot.Refusals[:min(len(shot.Refusals), maxRefused)]
		shot.Neighbours = shot.Neighbours[:min(len(shot.Neighbours), maxNodeValues)]
		shot.Links = shot.Links[:min(len(shot.Links), room)]
		room -= len(shot.Links)
	}
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

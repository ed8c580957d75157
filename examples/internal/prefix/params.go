package prefix

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// Param is what PrefixManager.Params says of the devices of one role.
type Param struct {
	Role   string
	Length int // of the prefixes that they ask for
}

// Params is the value of PrefixManager.Params. As a flag it is written
// "RSG=34,ASG=44".
type Params []Param

const (
	maxParams = 100 // roles
	maxLength = 128 // of a prefix, IPv6's
)

var errNotParams = errors.New("not the value of PrefixManager.Params")

// DefaultParams are those of the example in RFC 8992.
func DefaultParams() Params { return Params{{"RSG", 34}, {"ASG", 44}, {"CSG", 56}} }

// String returns it as it is written in a flag.
func (ps Params) String() string {
	var all []string
	for _, p := range ps {
		all = append(all, fmt.Sprint(p.Role, "=", p.Length))
	}
	return strings.Join(all, ",")
}

// Type is for the help.
func (*Params) Type() string { return "params" }

// Set implements flag.Value.
func (ps *Params) Set(text string) error {
	var all Params
	for one := range strings.SplitSeq(text, ",") {
		role, length, _ := strings.Cut(one, "=")
		n, err := strconv.Atoi(length)
		if role == "" || err != nil || n < 1 || n > maxLength {
			return fmt.Errorf("%q is not ROLE=LENGTH with a length from 1 to %d", one, maxLength)
		}
		all = append(all, Param{role, n})
	}
	if len(all) > maxParams {
		return errors.New("too many roles")
	}
	*ps = all
	return nil
}

// Length returns the length for a role, 0 if there is none.
func (ps Params) Length(role string) int {
	for _, p := range ps {
		if p.Role == role {
			return p.Length
		}
	}
	return 0
}

// value returns it as in the example in RFC 8992 section 6.2.
func (ps Params) value() any {
	all := []any{}
	for _, p := range ps {
		all = append(all, []any{[]any{"role", p.Role}, []any{"prefix_length", p.Length}})
	}
	return all
}

// parseParams takes them out of an objective. Keys that it does not know, and
// roles without a length, it skips.
func parseParams(o grasp.Objective) (Params, error) {
	var roles [][][]any
	if err := o.Decode(&roles); err != nil || len(roles) > maxParams {
		return nil, errors.Join(errNotParams, err)
	}
	var ps Params
	for _, pairs := range roles {
		var p Param
		for _, pair := range pairs {
			if len(pair) != 2 {
				return nil, errNotParams
			}
			switch pair[0] {
			case "role":
				p.Role, _ = pair[1].(string)
			case "prefix_length":
				n, _ := pair[1].(int64)
				p.Length = int(n)
			}
		}
		if p.Role != "" && p.Length >= 1 && p.Length <= maxLength {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

const (
	floodInterval = 60 * time.Second
	// floodTTL is a little less, so that a value never outlives the next one.
	floodTTL = 59 * time.Second
)

func parameters() grasp.Objective {
	return grasp.Objective{Name: "PrefixManager.Params", Synch: true, LoopCount: grasp.DefaultLoopCount}
}

func (m *Manager) parameters() grasp.Objective {
	o := parameters()
	o.Value = m.set.Params.value()
	return o
}

// flood floods the parameters at once, and again every minute.
func (m *Manager) flood(ctx context.Context) {
	m.asa.Tprint("Flooding PrefixManager.Params for ever:", m.set.Params)
	for {
		if err := m.asa.Flood(floodTTL, grasp.TaggedObjective{Objective: m.parameters()}); err != nil {
			m.asa.Tprint("Flood failure:", grasp.Code(err))
		}
		if !cli.Sleep(ctx, floodInterval) {
			return
		}
	}
}

package bank

import (
	"errors"
	"fmt"

	"github.com/go-grasp/grasp"
)

// currency is the only one that Briggs deals in.
const currency = "NZD"

// sum is a sum of money: the value of EX3, sent as [currency, amount].
type sum struct {
	currency string
	amount   int64
}

func (s sum) String() string { return fmt.Sprint(s.currency, " ", s.amount) }

var (
	errNotASum  = errors.New("not an array of a text and a whole number")
	errNegative = errors.New("a negative amount")
)

// parseSum takes the sum out of an objective, and refuses anything else that a peer
// may send.
func parseSum(o grasp.Objective) (sum, error) {
	var v any
	if err := o.Decode(&v); err != nil { // opens a Tag 24 value, too
		return sum{}, err
	}
	pair, ok := v.([]any)
	if !ok || len(pair) != 2 {
		return sum{}, errNotASum
	}
	s := sum{}
	var isText, isWhole bool
	s.currency, isText = pair[0].(string)
	s.amount, isWhole = pair[1].(int64) // a *big.Int if it is more than that
	switch {
	case !isText || !isWhole:
		return sum{}, errNotASum
	case s.amount < 0:
		return sum{}, errNegative
	}
	return s, nil
}

// value returns the sum as the value of an objective, with tag24 as encoded
// CBOR.
func (s sum) value(tag24 bool) (any, error) {
	v := []any{s.currency, s.amount}
	if !tag24 {
		return v, nil
	}
	return grasp.Encode(v)
}

// isTag24 reports whether an objective's value came as encoded CBOR.
func isTag24(o grasp.Objective) bool {
	_, ok := o.Value.(grasp.EncodedCBOR)
	return ok
}

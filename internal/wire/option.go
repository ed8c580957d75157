package wire

// The numbers of the options, RFC 8990 section 5.
const (
	optDivert  = 100
	optAccept  = 101
	optDecline = 102
)

// shape is what an item of a message looks like by its first bytes.
type shape uint8

const (
	shapeOther     shape = iota
	shapeEmpty           // an empty array
	shapeOption          // an array whose first item is an unsigned integer
	shapeObjective       // an array whose first item is text
	shapePair            // an array whose first item is an array
)

// peek returns the shape of the next item, and its number if that is an option.
// RFC 8990 section 2.9.1: an option SHOULD be an array, which MUST then start with an
// unsigned integer, the number of the option.
func (r *reader) peek() (shape, uint64) {
	h, n := readHead(r.b, r.i)
	if n == 0 || h.major != majorArray {
		return shapeOther, 0
	}
	inner, m := readHead(r.b, r.i+n)
	switch {
	case !h.open() && h.arg == 0, h.open() && inner.major == majorSimple && inner.open():
		return shapeEmpty, 0
	case m == 0:
		return shapeOther, 0
	case inner.major == majorUint:
		return shapeOption, inner.arg
	case inner.major == majorText:
		return shapeObjective, 0
	case inner.major == majorArray:
		return shapePair, 0
	default:
		return shapeOther, 0
	}
}

// responseOptions reads what follows the ttl of an M_RESPONSE. The grammar has
// locators or one divert there; all mixtures are accepted.
func (r *reader) responseOptions(a *array, m *Response) {
	if !r.need(a, "locator or divert") {
		return
	}
	for ok := true; ok; ok = r.more(a) {
		switch s, number := r.peek(); {
		case s == shapeObjective && m.Objective == nil:
			o := r.objectiveItem()
			m.Objective = &o
		case s == shapeOption && isLocator(number):
			m.Locators = r.appendLocator(m.Locators)
		case s == shapeOption && number == optDivert:
			m.Diverted = r.appendDivert(m.Diverted)
		default:
			// RFC 8990 section 2.8.2: options that have no place in the message
			// SHOULD be ignored.
			r.raw()
		}
	}
}

// appendDivert reads a divert option. It ignores items in it that are not locators.
func (r *reader) appendDivert(to []Locator) []Locator {
	d := r.open("divert")
	r.uint(&d, "option number", optDivert)
	for r.more(&d) {
		if s, number := r.peek(); s == shapeOption && isLocator(number) {
			to = r.appendLocator(to)
		} else {
			r.raw()
		}
	}
	return to
}

// appendLocator reads a locator option. It drops one of another layout (O-07), but
// fails if a number is out of range (C-02).
func (r *reader) appendLocator(to []Locator) []Locator {
	opt := r.item()
	loc := opt.locator()
	switch f, _ := opt.err.(*fault); {
	case opt.err == nil:
		return append(to, loc)
	case r.err == nil && (f == nil || f.hard):
		r.err = opt.err
	}
	return to
}

// endOptions reads what follows the session ID of an M_END.
func (r *reader) endOptions(a *array, m *End) {
	var accepted, declined bool
	at := r.i
	for r.more(a) {
		switch s, number := r.peek(); {
		case s == shapeOption && number == optAccept && !accepted:
			o := r.open("accept")
			r.uint(&o, "option number", optAccept)
			r.end(&o, "accept")
			accepted = true
		case s == shapeOption && number == optDecline && !declined:
			o := r.open("decline")
			r.uint(&o, "option number", optDecline)
			if r.more(&o) {
				m.Reason = string(r.str("reason", majorText, "text"))
			}
			r.end(&o, "decline")
			declined = true
		default:
			r.raw()
		}
	}
	// RFC 8990 section 2.8.8: M_END MUST carry either an accept or a decline option.
	switch {
	case r.err != nil:
	case accepted && declined:
		r.fail(at, "both accept and decline")
	case !accepted && !declined:
		r.err = &fault{class: ErrNoOption, what: "among the options", at: at}
	}
	m.Accept = accepted
}

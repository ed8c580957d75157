package loop

import (
	"iter"
	"time"
)

// order holds the keys of messages in the order in which they were added, in pieces: it
// grows without being copied, and gives back the pieces of what was taken out.
type order struct {
	pieces [][]added // oldest first; none is empty
	len    int
}

// added says when a message was added.
type added struct {
	key key
	at  time.Duration // since memory.since
}

// shortest and longest are how many messages a piece has room for.
const (
	shortest = 8
	longest  = 256
)

// add adds the newest message.
func (o *order) add(a added) {
	last := len(o.pieces) - 1
	if last < 0 || len(o.pieces[last]) == cap(o.pieces[last]) {
		o.pieces = append(o.pieces, make([]added, 0, min(max(o.len, shortest), longest)))
		last++
	}
	o.pieces[last] = append(o.pieces[last], a)
	o.len++
}

// oldest returns the oldest message. There must be one.
func (o *order) oldest() added { return o.pieces[0][0] }

// removeOldest takes the oldest message out.
func (o *order) removeOldest() {
	o.len--
	if o.pieces[0] = o.pieces[0][1:]; len(o.pieces[0]) == 0 {
		o.pieces[0] = nil // or it would be kept until pieces grows
		o.pieces = o.pieces[1:]
	}
}

// all returns the messages, oldest first.
func (o *order) all() iter.Seq[added] {
	return func(yield func(added) bool) {
		for _, p := range o.pieces {
			for _, a := range p {
				if !yield(a) {
					return
				}
			}
		}
	}
}

package capture

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// The bounds of what is kept of fragments until the others are there.
const (
	maxFragmented = 128 // datagrams
	maxDatagram   = 1<<16 - 1
	maxSpans      = 1024             // stretches of one datagram
	fragmentsWait = 60 * time.Second // RFC 8200 section 4.5
)

const whyFragments = "fragments came without the rest of their datagrams"

// fragmentKey tells which fragments belong together.
type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
	proto    byte
}

// fragment is a part of what IP carries.
type fragment struct {
	proto  byte
	offset int
	more   bool // it is not the last part
	data   []byte
	time   time.Time
}

// fragments puts together what IP carried in parts.
type fragments struct {
	waits map[fragmentKey]*fragmented
	order []fragmentKey // the oldest first
}

// fragmented is a datagram of which parts are there.
type fragmented struct {
	proto byte // as the first part has it
	data  []byte
	spans []span // those that are there, in order and apart
	end   int    // -1: the last part is not there
	since time.Time
	count int
}

type span struct{ from, to int }

// add takes a fragment and returns the whole that it completes, nil if none. What was
// kept and is given up instead counts as given, in fragments.
func (f *fragments) add(key fragmentKey, part fragment) (whole *fragmented, given int) {
	end := part.offset + len(part.data)
	if end > maxDatagram || part.more && (len(part.data)%8 != 0 || len(part.data) == 0) {
		return nil, 1
	}
	d := f.waits[key]
	if d != nil && part.time.Sub(d.since).Abs() > fragmentsWait {
		given += d.count
		f.forget(key)
		d = nil
	}
	if d == nil {
		if len(f.waits) >= maxFragmented {
			given += f.waits[f.order[0]].count
			f.forget(f.order[0])
		}
		if f.waits == nil {
			f.waits = make(map[fragmentKey]*fragmented)
		}
		d = &fragmented{end: -1, since: part.time}
		f.waits[key] = d
		f.order = append(f.order, key)
	}
	d.count++
	switch {
	case !d.take(part, end):
		given += d.count
		f.forget(key)
		return nil, given
	case d.end >= 0 && len(d.spans) == 1 && d.spans[0] == span{0, d.end}:
		f.forget(key)
		return d, given
	}
	return nil, given
}

// take adds a part. It is false if that contradicts what is there, or is too much: RFC
// 5722 says that fragments that overlap are to be given up. The same part may come twice
// in a capture.
func (d *fragmented) take(part fragment, end int) bool {
	last := d.end
	if !part.more {
		last = end
	}
	if d.end >= 0 && last != d.end || last >= 0 && (end > last || len(d.data) > last) {
		return false
	}
	d.end = last
	if part.offset == 0 {
		d.proto = part.proto
	}
	i, _ := slices.BinarySearchFunc(d.spans, part.offset, func(s span, at int) int { return s.to - at })
	if i < len(d.spans) && d.spans[i].to == part.offset && (i+1 == len(d.spans) || d.spans[i+1].from >= end) {
		d.spans[i].to = end // it follows what is there
	} else {
		for _, s := range d.spans[i:] {
			if s.from >= end || s.to <= part.offset {
				continue
			}
			return s.from <= part.offset && end <= s.to && bytes.Equal(d.data[part.offset:end], part.data)
		}
		d.spans = slices.Insert(d.spans, i, span{part.offset, end})
	}
	if i+1 < len(d.spans) && d.spans[i].to == d.spans[i+1].from {
		d.spans[i].to = d.spans[i+1].to
		d.spans = slices.Delete(d.spans, i+1, i+2)
	}
	if len(d.data) < end {
		d.data = slices.Grow(d.data, end-len(d.data))[:end]
	}
	copy(d.data[part.offset:], part.data)
	return len(d.spans) <= maxSpans
}

// forget removes a datagram.
func (f *fragments) forget(key fragmentKey) {
	delete(f.waits, key)
	f.order = slices.DeleteFunc(f.order, func(k fragmentKey) bool { return k == key })
}

// waiting returns the number of fragments that wait for others.
func (f *fragments) waiting() int {
	n := 0
	for _, d := range f.waits {
		n += d.count
	}
	return n
}

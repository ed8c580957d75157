package capture_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/capture"
)

// However a text is cut into segments, sent again and shuffled, it is read as it is.
func TestStreams(t *testing.T) {
	text := make([]byte, 1000)
	for i := range text {
		text[i] = byte(i * i)
	}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		first := random.Uint32() // sequence numbers wrap around
		segments := []capture.Segment{{Src: six, Dst: six2, Seq: first - 1, SYN: true}}
		for i := 0; i < len(text); {
			n := min(1+random.IntN(100), len(text)-i)
			segments = append(segments, capture.Segment{Src: six, Dst: six2, Seq: first + uint32(i), Payload: text[i : i+n]})
			i += n
			if random.IntN(3) == 0 {
				i -= random.IntN(n)
			}
		}
		rest := segments[1:]
		random.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		var streams capture.Streams
		var got []byte
		for i, s := range segments {
			b, ok := streams.Add(s)
			assert.Equal(t, ok, i == 0 || len(b.Data) > 0)
			assert.Equal(t, i == 0, b.New)
			assert.False(t, b.Gap)
			got = append(got, b.Data...)
		}
		require.Equal(t, text, got, "seed %d", seed)
		require.Empty(t, streams.Rest())
	}
}

func TestStreamsGap(t *testing.T) {
	var streams capture.Streams
	segment := func(seq uint32, payload string) capture.Segment {
		return capture.Segment{Src: six, Dst: six2, Seq: seq, Payload: []byte(payload)}
	}
	// The beginning was not captured.
	b, ok := streams.Add(segment(100, "abc"))
	assert.True(t, ok && b.New)
	assert.Equal(t, "abc", string(b.Data))
	assert.Equal(t, capture.Flow{Src: six, Dst: six2}, b.Flow)
	assert.Equal(t, capture.Flow{Src: six2, Dst: six}, b.Flow.Reverse())
	_, ok = streams.Add(segment(104, "e"))
	assert.False(t, ok)
	assert.Equal(t, []capture.Flow{b.Flow}, streams.Rest())

	// What is missing never comes: that is told, once.
	var gaps int
	for i := range uint32(1000) {
		if b, ok := streams.Add(segment(106+2*i, "x")); ok {
			assert.True(t, b.Gap)
			gaps++
		}
	}
	assert.Equal(t, 1, gaps)

	// The ports are used again.
	b, ok = streams.Add(capture.Segment{Src: six, Dst: six2, Seq: 9, SYN: true})
	assert.True(t, ok && b.New)
	cut := segment(10, "abc")
	cut.Cut = true
	b, _ = streams.Add(cut)
	assert.True(t, b.Gap)

	// After its end a connection is forgotten.
	streams.Add(capture.Segment{Src: four, Dst: fou2, Seq: 9, SYN: true})
	end := capture.Segment{Src: four, Dst: fou2, Seq: 10, End: true, Payload: []byte("end")}
	b, _ = streams.Add(end)
	assert.Equal(t, "end", string(b.Data))
	assert.True(t, b.End)
	b, ok = streams.Add(end)
	assert.True(t, ok && b.New)
}

// Neither connections without number nor bytes that wait for others make it grow; who is
// given up is told, the one first that was silent longest.
func TestStreamsBounds(t *testing.T) {
	var streams capture.Streams
	var forgotten []capture.Flow
	var left int
	streams.Forget = func(f capture.Flow, l bool) {
		forgotten = append(forgotten, f)
		if l {
			left++
		}
	}
	port := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(six.Addr(), uint16(i))
	}
	const most, more = 1 << 14, 100
	for i := range most + more {
		streams.Add(capture.Segment{Src: port(i), Dst: six2, Seq: 1, SYN: true})
		streams.Add(capture.Segment{Src: port(0), Dst: six2, Seq: 2, Payload: nil, End: false})
		if i < most/2 {
			streams.Add(capture.Segment{Src: port(i), Dst: six2, Seq: 3, Payload: []byte("y")})
		}
	}
	require.Len(t, forgotten, more)
	assert.Equal(t, more, left)
	assert.Equal(t, capture.Flow{Src: port(1), Dst: six2}, forgotten[0])
	assert.NotContains(t, forgotten, capture.Flow{Src: port(0), Dst: six2})
	assert.Len(t, streams.Rest(), most/2-more)
	// Ports that are used again.
	streams.Add(capture.Segment{Src: port(0), Dst: six2, Seq: 9, SYN: true})
	assert.Equal(t, capture.Flow{Src: port(0), Dst: six2}, forgotten[more])

	// 64 KiB that come early, in many connections.
	streams = capture.Streams{}
	gaps := 0
	for i := range 1000 {
		streams.Add(capture.Segment{Src: port(i), Dst: six2, Seq: 1, SYN: true})
		if b, ok := streams.Add(capture.Segment{Src: port(i), Dst: six2, Seq: 3, Payload: make([]byte, 1<<16)}); ok {
			assert.True(t, b.Gap)
			gaps++
		}
	}
	assert.Equal(t, 1000-32<<20>>16, gaps)
	// What was kept makes room when it is read.
	b, ok := streams.Add(capture.Segment{Src: port(0), Dst: six2, Seq: 2, Payload: []byte("x")})
	assert.True(t, ok)
	assert.Len(t, b.Data, 1+1<<16)
	streams.Add(capture.Segment{Src: port(2000), Dst: six2, Seq: 1, SYN: true})
	_, ok = streams.Add(capture.Segment{Src: port(2000), Dst: six2, Seq: 3, Payload: make([]byte, 1<<16)})
	assert.False(t, ok, "kept")
}

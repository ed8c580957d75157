package capture_test

import (
	"math/rand/v2"
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
	b, ok = streams.Add(end)
	assert.True(t, ok && b.New)
}

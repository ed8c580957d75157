package session

import (
	"runtime"
	"testing"
)

// BenchmarkTable is what it takes to begin and end a session while many others
// are under way.
func BenchmarkTable(b *testing.B) {
	t := NewTable[string](20_000, 20_000)
	for range 10_000 {
		t.Begin()
	}
	b.Run("BeginEnd/1", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			t.End(Key{ID: t.Begin()})
		}
	})
	b.Run("BeginEnd/64", func(b *testing.B) {
		b.SetParallelism(max(64/runtime.GOMAXPROCS(0), 1))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				t.End(Key{ID: t.Begin()})
			}
		})
	})
}

package capturetest

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Vectors returns the messages of RFC 8990 and of the Python prototype that package
// wire is tested with.
func Vectors(t testing.TB) [][]byte {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(here), "..", "..", "..", "..", "internal", "wire", "testdata", "vectors")
	var all [][]byte
	for _, name := range []string{"rfc8990.json", "prototype.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Messages []struct{ Plain string } }
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		for _, m := range file.Messages {
			raw, err := hex.DecodeString(m.Plain)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, raw)
		}
	}
	if len(all) < 30 {
		t.Fatalf("only %d vectors", len(all))
	}
	return all
}

package mvfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp"
	"github.com/go-grasp/grasp/acp/memory"
	"github.com/go-grasp/grasp/examples/internal/cli"
)

// bench has a pusher and a getter, each on a node with a directory of its own.
type bench struct {
	t        *testing.T
	net      *memory.Network
	link     *memory.Link
	from, to string
	getter   *Getter
}

func newBench(t *testing.T, set GetterSettings) *bench {
	t.Helper()
	b := &bench{t: t, net: memory.NewNetwork(1), from: t.TempDir(), to: t.TempDir()}
	b.link = b.net.NewLink(memory.LinkConfig{})
	var err error
	b.getter, err = NewGetter(b.instance("getter"), b.root(b.to), set, cli.NewOutcomes(nil))
	require.NoError(t, err)
	return b
}

func (b *bench) root(dir string) *os.Root {
	b.t.Helper()
	r, err := os.OpenRoot(dir)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = r.Close() })
	return r
}

func (b *bench) instance(name string) *grasp.Instance {
	b.t.Helper()
	g, err := grasp.New(grasp.Config{Plane: b.net.NewNode(name, b.link), Dialogue: grasp.Dialogue{Output: io.Discard}})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { assert.NoError(b.t, g.Close()) })
	return g
}

// push runs a pusher until the test calls stop, and at most until it ends.
func (b *bench) push() (stop func()) {
	b.t.Helper()
	g := b.instance("pusher")
	p, err := NewPusher(g, b.root(b.from), cli.NewOutcomes(nil))
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(b.t.Context())
	over := make(chan error, 1)
	go func() { over <- p.Run(ctx) }()
	require.Eventually(b.t, func() bool { return g.Snapshot().Objectives[0].Negotiating }, 30*time.Second, time.Millisecond)
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(b.t, <-over)
	})
	b.t.Cleanup(stop)
	return stop
}

func (b *bench) write(name string, data []byte) {
	b.t.Helper()
	path := filepath.Join(b.from, filepath.FromSlash(name))
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(b.t, os.WriteFile(path, data, 0o600))
}

// got returns what is in the getter's directory.
func (b *bench) got() map[string]string {
	b.t.Helper()
	all, err := os.ReadDir(b.to)
	require.NoError(b.t, err)
	got := make(map[string]string)
	for _, e := range all {
		data, err := os.ReadFile(filepath.Join(b.to, e.Name()))
		require.NoError(b.t, err)
		got[e.Name()] = string(data)
	}
	return got
}

// random returns so many bytes, the same for the same number.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

func TestSizes(t *testing.T) {
	b := newBench(t, GetterSettings{Max: 1 << 30})
	b.push()
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize, 10 << 20} {
		name := fmt.Sprint("file", size)
		b.write(name, random(size))
		require.NoError(t, b.getter.Get(t.Context(), name))
		got := b.got()
		require.Len(t, got, 1)
		require.True(t, got[name] == string(random(size)), name)
		require.NoError(t, os.Remove(filepath.Join(b.to, name)))
	}
}

// What a file is called there, and here.
func TestNames(t *testing.T) {
	b := newBench(t, GetterSettings{Max: 100})
	b.push()
	names := map[string]string{
		"a": "a", "dir/b": "b", "dir/sub dir/ç": "ç", "./dir/../c": "c", "...": "...", ".hidden": ".hidden",
	}
	for name := range names {
		b.write(name, []byte(name))
	}
	for name, local := range names {
		require.NoError(t, b.getter.Get(t.Context(), name))
		assert.Equal(t, name, b.got()[local], name)
	}
	for _, name := range []string{"", ".", "..", "/", "dir/..", `dir\..`} {
		assert.ErrorIs(t, b.getter.Get(t.Context(), name), ErrName, name)
	}
	assert.Len(t, b.got(), 6)
}

// refused requires that the pusher declines a request for this reason.
func (b *bench) refused(name, reason string) {
	b.t.Helper()
	var declined *grasp.DeclinedError
	require.ErrorAs(b.t, b.getter.Get(b.t.Context(), name), &declined, name)
	assert.Equal(b.t, reason, declined.Reason, name)
}

// Nothing outside the directory is sent, by whatever name, and nothing that
// is no file.
func TestNotServed(t *testing.T) {
	b := newBench(t, GetterSettings{Max: 100})
	b.push()
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(b.from), "secret"), []byte("secret"), 0o600))
	b.write("dir/file", []byte("file"))
	b.write("unreadable", []byte("x"))
	refused := b.refused
	refused("nothing", notFound)
	refused("dir", notRegular)
	refused("../secret", outside)
	refused("dir/../../secret", outside)
	refused(filepath.Join(filepath.Dir(b.from), "secret"), outside)
	refused("/etc/passwd", outside)
	refused("dir/file/x", outside)
	refused("nul\x00", outside)
	refused(strings.Repeat("x", 1000), outside)
	if runtime.GOOS != "windows" {
		require.NoError(t, os.Symlink("../secret", filepath.Join(b.from, "link")))
		require.NoError(t, os.Symlink("..", filepath.Join(b.from, "up")))
		require.NoError(t, os.Symlink("loop", filepath.Join(b.from, "loop")))
		refused("link", outside)
		refused("up/secret", outside)
		refused("loop", outside)
		// One that stays inside is followed.
		require.NoError(t, os.Symlink("dir/file", filepath.Join(b.from, "inside")))
		require.NoError(t, b.getter.Get(t.Context(), "inside"))
		require.NoError(t, os.Remove(filepath.Join(b.to, "inside")))
	}
	assert.Empty(t, b.got())
}

// A file that is there stays, unless it is to be replaced.
func TestReplace(t *testing.T) {
	b := newBench(t, GetterSettings{Max: 100})
	b.push()
	b.write("file", []byte("new"))
	require.NoError(t, os.WriteFile(filepath.Join(b.to, "file"), []byte("old"), 0o600))
	assert.ErrorIs(t, b.getter.Get(t.Context(), "file"), os.ErrExist)
	assert.Equal(t, map[string]string{"file": "old"}, b.got())
	b.getter.set.Replace = true
	require.NoError(t, b.getter.Get(t.Context(), "file"))
	assert.Equal(t, map[string]string{"file": "new"}, b.got())
}

// What does not come to its end leaves nothing behind.
func TestIncomplete(t *testing.T) {
	b := newBench(t, GetterSettings{Max: 2 * chunkSize})
	stop := b.push()
	b.write("file", random(2*chunkSize+1))
	assert.ErrorIs(t, b.getter.Get(t.Context(), "file"), ErrTooLarge)
	assert.Empty(t, b.got())

	// The pusher goes away, or the getter has enough, in the midst of it.
	b.getter.set.Max = 1 << 40
	b.write("file", random(10<<20))
	midst := func(then func()) {
		for {
			all, _ := os.ReadDir(b.to)
			if len(all) > 0 {
				assert.Contains(t, all[0].Name(), ".part")
				then()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go midst(cancel)
	assert.ErrorIs(t, b.getter.Get(ctx, "file"), grasp.ErrCancelled)
	assert.Empty(t, b.got())
	go midst(stop)
	assert.Error(t, b.getter.Get(t.Context(), "file"))
	assert.Empty(t, b.got())
}

func TestNoPusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, GetterSettings{Max: 100})
		assert.ErrorIs(t, b.getter.Get(t.Context(), "file"), ErrNoPusher)
		// One that went away without a word is forgotten, and another found.
		b.write("file", []byte("x"))
		stop := b.push()
		require.NoError(t, b.getter.Get(t.Context(), "file"))
		stop()
		require.NoError(t, os.Remove(filepath.Join(b.to, "file")))
		assert.Error(t, b.getter.Get(t.Context(), "file"))
	})
}

// Requests that make no sense, and getters that do not keep to the rules.
func TestOtherGetters(t *testing.T) {
	b := newBench(t, GetterSettings{})
	b.push()
	b.write("file", random(3*chunkSize))
	a := b.getter.asa
	ask := func(v any, dry bool) (*grasp.Session, grasp.Objective, error) {
		o := objective()
		o.Value, o.Dry = v, dry
		return a.ReqNegotiate(t.Context(), o, nil, 0)
	}
	for _, v := range []any{nil, 1, "", []byte("file"), []any{"file"}, map[string]any{"name": "file"}, grasp.EncodedCBOR{1}} {
		_, _, err := ask(v, false)
		require.ErrorContains(t, err, invalidRequest)
	}
	_, _, err := ask("file", true)
	require.ErrorContains(t, err, noDryRun)
	for _, v := range []any{nil, "ack", []byte(ack), 1} {
		s, o, err := ask("file", false)
		require.NoError(t, err)
		o.Value = v
		_, _, err = s.NegotiateStep(t.Context(), o, 0)
		require.ErrorContains(t, err, unexpected)
	}

	// As encoded CBOR, and so are the answers.
	name, err := grasp.Encode("file")
	require.NoError(t, err)
	s, o, err := ask(name, false)
	require.NoError(t, err)
	var chunk []byte
	require.IsType(t, grasp.EncodedCBOR{}, o.Value)
	require.NoError(t, o.Decode(&chunk))
	assert.True(t, bytes.Equal(chunk, random(3 * chunkSize)[:chunkSize]))
	require.NoError(t, s.EndNegotiate(false, "enough"))
}

// Pushers that do not keep to the rules.
func TestOtherPushers(t *testing.T) {
	b := newBench(t, GetterSettings{Max: 100})
	a, err := b.instance("other").RegisterASA("other")
	require.NoError(t, err)
	require.NoError(t, a.RegisterObj(objective(), grasp.RegisterOptions{Discoverable: true}))
	serve := func(steps ...any) {
		s, o, err := a.ListenNegotiate(t.Context(), objective())
		for _, v := range steps {
			if err != nil {
				return
			}
			if v == ack { // it accepts
				_ = s.EndNegotiate(true, "")
				return
			}
			o.Value = v
			s, o, err = s.NegotiateStep(t.Context(), o, 0)
		}
	}
	for _, c := range []struct {
		want  error
		steps []any
	}{
		{ErrNoChunk, []any{ack}},
		{ErrNoChunk, []any{"text"}},
		{ErrNoChunk, []any{nil}},
		{ErrNoChunk, []any{[]byte("x"), 1}},
		{ErrNoChunk, []any{[]byte("x"), ack}},
		{ErrTooLarge, []any{make([]byte, 101)}},
		// As the prototype does: one item, one with more bytes after it, and none.
		{nil, []any{grasp.EncodedCBOR{0x18, 0x18}, cbor.RawMessage("\xd8\x18\x45\x63abc\xf6"), []byte{1}, []byte{}}},
	} {
		go serve(c.steps...)
		require.Eventually(t, func() bool { return a.Instance().Snapshot().Objectives[0].Negotiating }, 30*time.Second, time.Millisecond)
		assert.ErrorIs(t, b.getter.Get(t.Context(), "file"), c.want)
		if c.want != nil {
			assert.Empty(t, b.got())
		}
	}
	assert.Equal(t, map[string]string{"file": "\x18\x18\x63abc\xf6\x01"}, b.got())
}

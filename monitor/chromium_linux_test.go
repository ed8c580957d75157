package monitor

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/netbed"
)

// browser is a page in a headless Chromium, driven by its DevTools protocol
// over a pipe: JSON objects, each followed by a zero byte.
type browser struct {
	testing.TB
	to      io.Writer
	session string

	mu      sync.Mutex // guards all following fields
	next    int
	replies map[int]chan reply
	errors  []string // what the page complained of
}

type reply struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

// newBrowser starts a browser of 1280 by 800. It must not reach beyond this
// host, so the test must be in a network namespace: netbed.Enter.
func newBrowser(t testing.TB) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromium (must run: CI=true)")
		}
		t.Skip("no chromium: apt-get install chromium")
	}
	theirIn, in, err := os.Pipe()
	require.NoError(t, err)
	out, theirOut, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(), "--window-size=1280,800", "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // descriptors 3 and 4
	require.NoError(t, cmd.Start())
	_, _ = theirIn.Close(), theirOut.Close()

	b := &browser{TB: t, to: in, replies: make(map[int]chan reply)}
	var reading sync.WaitGroup
	reading.Go(func() { b.read(out) })
	t.Cleanup(func() {
		killer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		_, _ = io.WriteString(in, `{"id":0,"method":"Browser.close"}`+"\x00")
		_ = cmd.Wait() // its status says nothing that matters
		killer.Stop()
		reading.Wait()
		_, _ = in.Close(), out.Close()
	})

	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	b.size(1280, 800)
	return b
}

// read takes what the browser says until it ends.
func (b *browser) read(from io.Reader) {
	r := bufio.NewReader(from)
	for {
		raw, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m reply
		if err := json.Unmarshal(bytes.TrimSuffix(raw, []byte{0}), &m); err != nil {
			continue
		}
		b.mu.Lock()
		switch m.Method {
		case "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening":
			b.errors = append(b.errors, m.Method+": "+string(m.Params))
		}
		waiting := b.replies[m.ID]
		delete(b.replies, m.ID)
		b.mu.Unlock()
		if waiting != nil {
			waiting <- m
		}
	}
}

// call has the browser do something.
func (b *browser) call(method string, params, result any) {
	b.Helper()
	b.mu.Lock()
	b.next++
	id, waiting := b.next, make(chan reply, 1)
	b.replies[id] = waiting
	b.mu.Unlock()
	if params == nil {
		params = struct{}{}
	}
	request := map[string]any{"id": id, "method": method, "params": params}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	raw, err := json.Marshal(request)
	require.NoError(b, err)
	_, err = b.to.Write(append(raw, 0))
	require.NoError(b, err, method)
	select {
	case m := <-waiting:
		require.Nil(b, m.Error, "%s: %v", method, m.Error)
		if result != nil {
			require.NoError(b, json.Unmarshal(m.Result, result), method)
		}
	case <-time.After(time.Minute):
		require.Fail(b, "the browser does not answer", method)
	}
}

// open opens a page.
func (b *browser) open(url string) {
	b.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
}

// eval returns the value of an expression in the page.
func eval[T any](b *browser, expression string) T {
	b.Helper()
	var out struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &out)
	require.Empty(b, string(out.ExceptionDetails), expression)
	var v T
	if len(out.Result.Value) > 0 {
		require.NoError(b, json.Unmarshal(out.Result.Value, &v), expression)
	}
	return v
}

// await waits until an expression is true in the page.
func (b *browser) await(expression string) {
	b.Helper()
	netbed.Eventually(b, time.Minute, expression, func() bool { return eval[bool](b, expression) })
}

// texts returns the texts of the elements that a selector selects.
func (b *browser) texts(selector string) []string {
	b.Helper()
	return eval[[]string](b, fmt.Sprintf("[...document.querySelectorAll(%q)].map(e => e.textContent)", selector))
}

// size sets the size of the window, that of a telephone perhaps.
func (b *browser) size(width, height int) {
	b.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// scrollTo has the page show an element.
func (b *browser) scrollTo(selector string) {
	b.Helper()
	eval[any](b, fmt.Sprintf("document.querySelector(%q).scrollIntoView()", selector))
}

// dark sets whether the user likes it dark.
func (b *browser) dark(yes bool) {
	b.Helper()
	scheme := "light"
	if yes {
		scheme = "dark"
	}
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// screenshot returns what the page looks like, and leaves it as a file in the
// directory that GRASP_SCREENSHOTS names, if it does.
func (b *browser) screenshot(name string) []byte {
	b.Helper()
	b.await("document.getAnimations().every(a => a.playState === 'finished')")
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	raw, err := base64.StdEncoding.DecodeString(shot.Data)
	require.NoError(b, err)
	if dir := os.Getenv("GRASP_SCREENSHOTS"); dir != "" {
		require.NoError(b, os.WriteFile(filepath.Join(dir, name+".png"), raw, 0o644))
	}
	return raw
}

// complaints returns what the page complained of: exceptions, refusals by the
// policy, files that are not there.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.errors
}

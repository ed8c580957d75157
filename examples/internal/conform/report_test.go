package conform_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/examples/internal/conform"
)

// aReport has a result of each kind.
func aReport() *conform.Report {
	all := conform.Checks()
	r := &conform.Report{Took: 1500 * time.Millisecond, Datagrams: 7, Connections: 2, Messages: 3}
	for i, v := range []conform.Verdict{conform.Pass, conform.Skipped, conform.Fail} {
		r.Results = append(r.Results, conform.Result{Check: all[i], Verdict: v, Took: 250 * time.Millisecond})
	}
	r.Results[1].Why = "no reason"
	r.Results[2].Why = `came <"what">`
	r.Results[2].Exchanges = []conform.Exchange{
		{At: time.Millisecond, Sent: true, Where: "UDP to all", Bytes: []byte{0x81, 0}},
		{At: time.Millisecond, Where: "connection closed"},
	}
	return r
}

func TestReportForPeople(t *testing.T) {
	var out bytes.Buffer
	conform.Printer{W: &out}.Print(aReport())
	for _, want := range []string{"PASS  C-01  text ", "SKIP  ", "no reason", "FAIL  ", `came <"what">`, "-> UDP to all", "8100", "[0]", "<- connection closed", "MUST ", "1.5s; sent 7 datagrams, and 3 messages over 2 connections"} {
		assert.Contains(t, out.String(), want)
	}
	assert.NotContains(t, out.String(), "\x1b")
	out.Reset()
	conform.Printer{W: &out, Colours: true, Brief: true}.Print(aReport())
	assert.Contains(t, out.String(), "\x1b[31mFAIL\x1b[0m")
	assert.NotContains(t, out.String(), "PASS")
}

func TestReportAsJSON(t *testing.T) {
	var out bytes.Buffer
	want := aReport()
	require.NoError(t, want.JSON(&out))
	assert.Contains(t, out.String(), `"hex":"8100","diagnostic":"[0]"`)
	got, err := conform.ReadJSON(&out)
	require.NoError(t, err)
	require.Len(t, got.Results, 3)
	for i, x := range got.Results {
		assert.Equal(t, want.Results[i].Check.Name, x.Check.Name)
		assert.Equal(t, want.Results[i].Verdict, x.Verdict)
		assert.Equal(t, want.Results[i].Why, x.Why)
	}
	assert.Equal(t, want.Took, got.Took)
	assert.Equal(t, want.Datagrams, got.Datagrams)
}

func TestReportForJUnit(t *testing.T) {
	var out bytes.Buffer
	r := aReport()
	r.Results[2].Check.Strength = conform.Must
	require.NoError(t, r.JUnit(&out))
	d := xml.NewDecoder(&out)
	counts := make(map[string]int)
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
		}
	}
	assert.Equal(t, map[string]int{"testsuites": 1, "testsuite": 1, "testcase": 3, "failure": 1, "skipped": 1, "system-out": 3}, counts)
}

func TestRunRefuses(t *testing.T) {
	for want, cfg := range map[string]conform.Config{
		"no link was named":                  {Negotiate: "EX1"},
		"one or two can be judged":           {Links: []string{"a", "b", "c"}, Negotiate: "EX1"},
		"is needed to find it":               {Links: []string{"a"}},
		`link "nolink0"`:                     {Links: []string{"nolink0"}, Negotiate: "EX1"},
		`there is no check that "xyz" names`: {Links: []string{"a"}, Negotiate: "EX1", Only: []string{"xyz"}},
	} {
		_, err := conform.Run(t.Context(), cfg)
		assert.ErrorContains(t, err, want)
	}
}

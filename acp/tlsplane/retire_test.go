package tlsplane

import (
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// deadlines is a connection that notes its deadlines, and before the first of them does
// something else.
type deadlines struct {
	net.Conn
	before      func()
	read, write time.Time
}

func (d *deadlines) first() {
	if before := d.before; before != nil {
		d.before = nil
		before()
	}
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.first(); d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.first(); d.write = t; return nil }
func (d *deadlines) SetDeadline(t time.Time) error {
	d.first()
	d.read, d.write = t, t
	return nil
}

// A retired connection ends in its time, however the reader and the writer set deadlines
// of their own, even if it is retired while they do.
func TestRetiredEndsInTime(t *testing.T) {
	for _, when := range []string{"before", "meanwhile", "after"} {
		synctest.Test(t, func(t *testing.T) {
			end := time.Now().Add(retireTime)
			below := new(deadlines)
			n := &neighbour{conn: &conn{Conn: tls.Client(below, &tls.Config{})}, wake: make(chan struct{}, 1)}
			for _, set := range []func(time.Time) error{n.stream().SetReadDeadline, n.stream().SetWriteDeadline} {
				n.drainEnd.Store(nil)
				require.NoError(t, set(time.Now().Add(silence)))
				switch when {
				case "before":
					n.retire()
				case "meanwhile":
					below.before = n.retire
				}
				require.NoError(t, set(time.Now().Add(silence)))
				if when == "after" {
					n.retire()
				}
				require.Equal(t, end, below.read, when)
				require.Equal(t, end, below.write, when)
				require.NoError(t, set(time.Now().Add(time.Second)), "an earlier one holds")
			}
			require.NotEqual(t, below.read, below.write)
		})
	}
}

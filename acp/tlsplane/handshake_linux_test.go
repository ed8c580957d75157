package tlsplane_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-grasp/grasp/internal/domain"
)

// What a handshake of two members costs by itself, in full and resumed: the processor
// time of both ends. Planes never resume one; docs/scale.md says why.
func BenchmarkHandshake(b *testing.B) {
	d, err := domain.New("testers")
	require.NoError(b, err)
	cert, err := d.Issue("member", time.Hour)
	require.NoError(b, err)
	config := &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // but for this:
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: d.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		},
	}
	for _, resumed := range []bool{false, true} {
		name := "full"
		if resumed {
			name = "resumed"
		}
		b.Run(name, func(b *testing.B) {
			l, err := net.Listen("tcp", "[::1]:0")
			require.NoError(b, err)
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = tls.Server(c, config).Write([]byte{1}) // after the ticket
					_ = c.Close()
				}
			}()
			client := config.Clone()
			client.ServerName = "member"
			if resumed {
				client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			handshake := func() bool {
				c, err := tls.Dial("tcp", l.Addr().String(), client)
				require.NoError(b, err)
				defer c.Close()
				_, err = c.Read(make([]byte, 1))
				require.NoError(b, err)
				return c.ConnectionState().DidResume
			}
			handshake()
			before := processorTime(b)
			for b.Loop() {
				require.Equal(b, resumed, handshake())
			}
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime returns what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

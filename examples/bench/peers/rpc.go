package main

import (
	"context"
	"net"
	"net/url"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/go-grasp/grasp"
)

// serveRPC answers the calls of gRPC's own health service, which are about as long as
// the messages of a negotiation.
func serveRPC() (port int, stop func(), err error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, nil, err
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()
	return l.Addr().(*net.TCPAddr).Port, s.Stop, nil
}

// rpc is a client of gRPC.
type rpc struct {
	target string
	conn   *grpc.ClientConn
}

func newRPC(peer *grasp.Locator, port int) (*rpc, error) {
	at := net.JoinHostPort(peer.IP.String(), strconv.Itoa(port))
	r := &rpc{target: "passthrough:///" + url.PathEscape(at)}
	var err error
	r.conn, err = r.dial()
	return r, err
}

func (r *rpc) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(r.target, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (r *rpc) close() { _ = r.conn.Close() }

func (r *rpc) call(ctx context.Context) error { return check(ctx, r.conn) }

func (r *rpc) callAnew(ctx context.Context) error {
	conn, err := r.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return check(ctx, conn)
}

func check(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// Package graspybed runs graspy, the Python prototype by the author of GRASP,
// beside tests: as a peer whose API a test calls, and as one of its example
// agents.
//
// The prototype is not part of this repository. The environment variable
// GRASPY names a checkout of github.com/becarpenter/graspy, which is used as
// it is; tests are skipped without it. It needs Debian's python3 with the
// packages python3-cbor2, python3-netifaces and python3-cryptography.
//
//	GRASPY=~/graspy go test -run Interop . ./internal/graspybed
//
// It runs in network namespaces of package netbed only, which is why the
// package is empty but on Linux.
package graspybed

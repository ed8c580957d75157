// Package clitest runs the example programs as processes in network namespaces,
// for tests. It is empty but on Linux.
package clitest

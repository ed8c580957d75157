// Package scenario tests whole networks: the same scenarios on topologies in
// memory, in virtual time, and on real links between processes in network
// namespaces, with links and nodes that come and go.
package scenario

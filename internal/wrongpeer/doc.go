// Package wrongpeer is a small GRASP speaker that is wrong in one named way at
// a time, or right. It proves that a judge of conformance can tell.
//
// It shares no code with the engine: it is short, serves one objective that it
// negotiates and one that it synchronizes, relays discoveries and floods
// between its links, and caches what it relayed the answers of.
//
// It is for tests in network namespaces, which is why the package is empty but
// on Linux.
package wrongpeer

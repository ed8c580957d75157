// Package conform judges whether a node that speaks GRASP obeys RFC 8990.
//
// [Run] plays a peer on a link that the target is on: one that is correct,
// difficult and, in parts, hostile. It knows of the target nothing but the
// link, and the names of an objective that it negotiates and of one that it
// synchronizes. A [Check] is one thing that the RFC demands; it passes, fails,
// or is skipped because the target gives no occasion for it.
//
// The package builds and reads messages with code of its own, and shares none
// with the engine of this repository: a judge must not share the mistakes of
// the accused.
package conform

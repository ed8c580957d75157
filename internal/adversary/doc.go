// Package adversary attacks an instance: with what is no GRASP, with floods and
// storms of what is, by many at once, on networks in memory and on real links.
package adversary

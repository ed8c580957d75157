// Command libgrasp is GRASP as a C shared library, with the API of RFC 8991.
// Build it with cgo:
//
//	go build -buildmode=c-shared -o libgrasp.so ./examples/libgrasp
//
// The header, grasp.h, is written by hand and says all that a C programmer has
// to know. The library keeps everything that has a handle in tables: no pointer
// to Go's memory reaches C.
package main

// main is not run in a shared library.
func main() {}

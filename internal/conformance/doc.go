// Package conformance tests an instance against RFC 8990 and RFC 8991, sentence
// by sentence, and knows nothing of it but its API and what it sends.
package conformance

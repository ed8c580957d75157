//go:build !linux

package acp

type batchCalls struct{}

type batchReader struct{}

func (r *receiver) read(buffer int) (*batch, error) { return r.readOne(buffer) }

//go:build !linux

package acp

import "errors"

// subscribe: the timer serves.
func subscribe(bool) (eventSource, error) { return nil, errors.ErrUnsupported }

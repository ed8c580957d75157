//go:build !linux

package acp

import "errors"

// bindToLink: zones have to serve.
func bindToLink(_, _ int) error { return errors.ErrUnsupported }

//go:build !linux

package asleep

import "errors"

// Alarm tells when the machine wakes up.
type Alarm struct{}

// NewAlarm returns an error: other systems have no such thing that costs nothing.
func NewAlarm() (*Alarm, error) { return nil, errors.ErrUnsupported }

// Receive is not called.
func (*Alarm) Receive() error { return errors.ErrUnsupported }

// Close is not called.
func (*Alarm) Close() error { return nil }

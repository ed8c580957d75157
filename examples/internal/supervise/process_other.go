//go:build !linux

package supervise

import (
	"errors"
	"fmt"
	"os/exec"
)

// prepare refuses limits, which only Linux has.
func prepare(_ *exec.Cmd, l Limits) (release func(), err error) {
	if l != (Limits{}) {
		return nil, fmt.Errorf("limits: %w on this system", errors.ErrUnsupported)
	}
	return func() {}, nil
}

func killRest(*exec.Cmd) {}

// Main does nothing on this system.
func Main() {}

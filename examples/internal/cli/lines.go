package cli

import (
	"bufio"
	"context"
)

// Lines returns the lines of the standard input, without their ends. The
// channel is closed at the end of the input. It is called once.
func (p *Program) Lines(ctx context.Context) <-chan string {
	lines := make(chan string)
	go func() { // ends with the process at the latest: a read cannot be cancelled
		defer close(lines)
		for in := bufio.NewScanner(p.Stdin); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

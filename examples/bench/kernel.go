package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// floorSource is a program that does what the kernel needs of an exchange and
// nothing else.
//
//go:embed floor/floor.c
var floorSource []byte

// program is a run of that program.
type program struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	dir string
}

// start compiles the program, and runs it. The error says that there is no compiler,
// or that this system is not one for the program.
func start(args ...string) (_ *program, err error) {
	dir, err := os.MkdirTemp("", "bench-floor-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	source, exe := filepath.Join(dir, "floor.c"), filepath.Join(dir, "floor")
	if err := os.WriteFile(source, floorSource, 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command("cc", "-O2", "-pthread", "-o", exe, source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cc: %w: %s", err, out)
	}
	r := &program{cmd: exec.Command(exe, args...), dir: dir}
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	r.out = bufio.NewReader(out)
	return r, r.cmd.Start()
}

func (r *program) line() (string, error) {
	line, err := r.out.ReadString('\n')
	return strings.TrimSpace(line), err
}

// close ends the program by the end of its input.
func (r *program) close() error {
	_ = r.in.Close()
	err := r.cmd.Wait()
	_ = os.RemoveAll(r.dir)
	return err
}

// serveKernel answers on a port until it is stopped.
func serveKernel() (port uint16, stop func(), err error) {
	r, err := start("serve")
	if err != nil {
		return serveCalls()
	}
	line, err := r.line()
	if err == nil {
		_, err = fmt.Sscan(line, &port)
	}
	if err != nil {
		_ = r.close()
		return 0, nil, fmt.Errorf("the floor's server: %w", err)
	}
	return port, func() { _ = r.close() }, nil
}

// newKernelFloor returns the floor of the kernel: a request of so many bytes, an
// answer of so many. The first byte of a request says how long the answer is.
func newKernelFloor(to netip.AddrPort, asked, answer int) (floor, error) {
	addr, link := to.Addr(), to.Addr().Zone()
	if addr.Is4() {
		addr = netip.AddrFrom16(addr.As16())
	}
	r, err := start("ask", addr.WithZone("").String(), link, strconv.Itoa(int(to.Port())), strconv.Itoa(asked), strconv.Itoa(answer))
	if err != nil {
		return newCalls(to, asked, answer)
	}
	return &compiled{r}, nil
}

// compiled is the program as a floor.
type compiled struct{ *program }

func (f *compiled) by() string { return "C" }

func (f *compiled) measure(_ context.Context, n, times int) (time.Duration, error) {
	if _, err := fmt.Fprintln(f.in, n, times); err != nil {
		return 0, err
	}
	line, err := f.line()
	if err != nil {
		return 0, fmt.Errorf("the floor: %w", err)
	}
	seconds, err := strconv.ParseFloat(line, 64)
	return time.Duration(seconds * float64(time.Second)), err
}

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// commands has a command in each line, to be run one after the other.
const commands = "/commands"

func main() {
	err := run()
	if err != nil {
		fmt.Println("guest:", err)
	} else {
		fmt.Println("guest: done")
	}
	unix.Sync()
	err = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Println("guest: power off:", err)
}

func run() error {
	for target, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"} {
		if err := errors.Join(os.MkdirAll(target, 0o755), unix.Mount("none", target, kind, 0, "")); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	version, err := os.ReadFile("/proc/version")
	if err != nil {
		return err
	}
	fmt.Printf("guest: %s", version)
	if err := loadModules(); err != nil {
		return err
	}
	if err := linksUp(); err != nil {
		return err
	}
	text, err := os.ReadFile(commands)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		fmt.Println("guest: run", strings.Join(words, " "))
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// loadModules loads the modules of the initrd, in the order of their names.
func loadModules() error {
	files, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// linksUp waits for an interface beside the loopback, and sets all up.
func linksUp() error {
	var all []net.Interface
	for range 300 {
		var err error
		if all, err = net.Interfaces(); err != nil {
			return err
		}
		if len(all) > 1 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, i := range all {
		r, err := unix.NewIfreq(i.Name)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, r); err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
		r.SetUint16(r.Uint16() | unix.IFF_UP)
		if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
		fmt.Println("guest: up:", i.Name)
	}
	return nil
}

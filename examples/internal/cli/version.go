package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	flag "github.com/spf13/pflag"
)

// version is that of a package of the program; .ci/package sets it when it links.
var version string

// The flag, and the command of a program that has commands.
const (
	versionFlag  = "version"
	versionAbout = "Prints the version"
)

// VersionFlag adds --version to the flags of a program.
func VersionFlag(f *flag.FlagSet) *bool {
	return f.Bool(versionFlag, false, "print the version, and end")
}

// Version returns the name of a program with its version: that of the package which it
// is part of, or else what the Go command knows about the build.
func Version(name string) string {
	v := version
	if v == "" {
		v = "(unknown version)"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
			v = info.Main.Version
		}
	}
	return fmt.Sprintf("%s %s, %s %s/%s", name, v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

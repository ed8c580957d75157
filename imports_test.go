package grasp_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The house, from the ground up. A package may import those below it, and of its
// own floor those that the lists below allow; tests may import test rooms, too.
//
//	internal/wire           the messages: nothing of ours
//	internal/…              rooms: other rooms
//	acp                     the contract and the links of the machine: rooms
//	acp/…                   planes: acp and rooms, not each other
//	(the top)               package grasp: acp, acp/memory and rooms
//	internal/words          messages in words, for monitor and examples: all of the above
//	grasptest, monitor      for users: all of the above
//	examples/…              programs: all of the above, and each other
//
// Beside it are the test rooms, which nothing imports but tests and each other.

// rooms are the packages of internal that package grasp, the planes and what is above them
// are made of.
var rooms = strings.Fields(`asleep cache datagram domain framing hosttoken lazyctx loop negotiation nowait
	outlet pace race registry search session share target value wire`)

// testRooms are the packages that only tests import.
var testRooms = strings.Fields(`internal/acptest internal/adversary internal/bed internal/conformance
	internal/exported internal/graspybed internal/interop internal/longtest internal/netbed internal/output internal/scale internal/scenario internal/topology
	internal/transcript internal/wrongpeer examples/internal/capture/capturetest examples/internal/clitest
	examples/internal/dnssd/dnstest grasptest`)

// forTests are modules of others that only tests import.
var forTests = []string{"github.com/stretchr/testify", "github.com/vishvananda/netlink", "github.com/prometheus"}

const module = "github.com/go-grasp/grasp"

// floor says where in the house a package is: "" if nowhere.
func floor(pkg string) string {
	switch {
	case slices.Contains(testRooms, pkg):
		return "test room"
	case pkg == ".":
		return "top"
	case pkg == "acp", pkg == "monitor", pkg == "internal/words":
		return pkg
	case path.Dir(pkg) == "acp":
		return "plane"
	case strings.HasPrefix(pkg, "examples/"):
		return "examples"
	case path.Dir(pkg) == "internal" && slices.Contains(rooms, path.Base(pkg)):
		return "room"
	}
	return ""
}

// mayImport says whether code of a package, or a test of it, may import another
// of the module.
func mayImport(pkg, other string, test bool) bool {
	from, to := floor(pkg), floor(other)
	switch {
	case to == "examples":
		return from == "examples" || from == "test room" && strings.HasPrefix(pkg, "examples/")
	case from == "test room", from == "examples" && to != "test room":
		return true
	case test && to == "test room", test && from != "room":
		return true
	case test: // a room is tested without the instance that it is a part of
		return to == "room" || to == "plane" || to == "acp"
	}
	switch from {
	case "room":
		return to == "room" && pkg != "internal/wire"
	case "acp":
		return to == "room"
	case "plane":
		return to == "room" || to == "acp"
	case "top":
		return to == "room" || to == "acp" || other == "acp/memory"
	case "internal/words":
		return to == "room" || to == "acp" || to == "top"
	case "monitor":
		return to == "room" || to == "acp" || to == "top" || to == "internal/words"
	}
	return false
}

// imported is an import of a file.
type imported struct {
	file, path string
}

// wrong says what is wrong with an import, or nothing.
func wrong(i imported) string {
	pkg, test := path.Dir(i.file), strings.HasSuffix(i.file, "_test.go")
	if floor(pkg) == "" {
		return fmt.Sprintf("%s: say in this test where in the house it is", pkg)
	}
	if i.path == module || strings.HasPrefix(i.path, module+"/") {
		other := path.Clean("." + strings.TrimPrefix(i.path, module))
		if !mayImport(pkg, other, test) {
			return fmt.Sprintf("%s imports %s: a %s must not import a %s", i.file, other, floor(pkg), floor(other))
		}
		return ""
	}
	for _, m := range forTests {
		if strings.HasPrefix(i.path, m) && !test && floor(pkg) != "test room" {
			return fmt.Sprintf("%s imports %s, which is for tests", i.file, i.path)
		}
	}
	return ""
}

// Imports go down in the house, on all systems.
func TestImports(t *testing.T) {
	count := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(file) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			count++
			if what := wrong(imported{filepath.ToSlash(file), p}); what != "" {
				t.Error(what)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, count, 1000, "imports seen")
}

// The rules of the house, each broken once.
func TestImportsUpAreWrong(t *testing.T) {
	for _, i := range []imported{
		{"internal/wire/parse.go", module + "/internal/share"},
		{"internal/loop/relay.go", module},
		{"internal/loop/relay_test.go", module},
		{"internal/loop/relay.go", module + "/acp"},
		{"internal/loop/relay.go", module + "/internal/netbed"},
		{"internal/wire/parse.go", "github.com/stretchr/testify/require"},
		{"acp/layer2.go", module},
		{"acp/layer2.go", module + "/acp/memory"},
		{"acp/quads/plane.go", module + "/acp/memory"},
		{"acp/tlsplane/plane.go", module},
		{"grasp.go", module + "/acp/tlsplane"},
		{"grasp.go", module + "/monitor"},
		{"grasp.go", module + "/grasptest"},
		{"monitor/monitor.go", module + "/examples/internal/cli"},
		{"monitor/monitor_test.go", module + "/examples/internal/cli"},
		{"internal/bed/bed.go", module + "/examples/internal/cli"},
		{"examples/pair/main.go", module + "/internal/bed"},
		{"examples/pair/main.go", "github.com/vishvananda/netlink"},
		{"internal/somewhere/new.go", "fmt"},
	} {
		require.NotEmpty(t, wrong(i), "%+v", i)
	}
	for _, i := range []imported{
		{"internal/loop/relay.go", module + "/internal/wire"},
		{"internal/loop/relay_test.go", module + "/internal/transcript"},
		{"acp/layer2_test.go", module + "/internal/netbed"},
		{"internal/bed/bed.go", module},
		{"grasp_test.go", module + "/internal/bed"},
		{"examples/pair/main.go", module},
	} {
		require.Empty(t, wrong(i), "%+v", i)
	}
}

package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests named after a letter and a number, such as
// TestN13RequestWithoutListenerIsClosed, walk RFC 8990: each checks one
// requirement and cites the section it comes from. In the order of the RFC they
// are in
//
//	rfc8990_transport_test.go    2.3 to 2.6   T constants and transport
//	rfc8990_message_test.go      2.2, 2.5.3   C, Z messages on it
//	rfc8990_session_test.go      2.7, 2.8.12  S session IDs, V M_INVALID and M_NOOP
//	rfc8990_discovery_test.go    2.5.4        D discovery
//	rfc8990_unicast_test.go      2.5.4.2      D asking one node alone
//	rfc8990_chain_test.go        2.5.4.4      D, F across several relays
//	rfc8990_relay_test.go        2.5.4.4      R discovery relay
//	rfc8990_negotiation_test.go  2.5.5        N negotiation
//	rfc8990_dryrun_test.go       2.5.5        Y dry run
//	rfc8990_wait_test.go         2.8.9, 2.5.5 N waiting and sessions side by side
//	rfc8990_synch_test.go        2.5.6        K synchronization, P rapid mode
//	rfc8990_flood_test.go        2.5.6.2      F flooding
//	rfc8990_option_test.go       2.9, 2.10    O options, locators, objectives
//	rfc8990_dull_test.go         2.5.2        L DULL
//	rfc8990_rapid_test.go        2.5.4.5      P rapid mode
//	rfc8990_security_test.go     2.5.1, 3     X security substrate
//	rfc8990_status_test.go       2.5.1        X a substrate that fails and comes back
//	rfc8990_general_test.go      2.2, 2.4     G general
//
// and, as far as they are about single messages, links or tables, in internal and
// acp.

// rfc8990 are the requirements, a letter for each topic and the numbers of
// those that are in force.
var rfc8990 = map[string]string{
	"T": "01 02 03 04 05 06 07 08 09 10 11 12 13",
	"C": "01 02 03 04 05 06 07 08 09 10 11 12 13",
	"S": "01 02 03 04 05 06 07 08 09",
	"D": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25",
	"R": "01 02 03 04 05 06 07 08 09",
	"N": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19",
	"Y": "01 02 03",
	"P": "01 02 03 04 05 06 07 08",
	"K": "01 02 03 04 05 06 07 08",
	"F": "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15",
	"V": "01 02 03 04 05 06",
	"O": "01 02 03 04 05 06 07 08 09 10 11 12 13 14",
	"Z": "01 02 03",
	"L": "01 02 03 04 05 06 07 08",
	"X": "01 02 03 04 05 06",
	"G": "01 02 03 04",
}

// notHere are the requirements without a test, with the reason.
var notHere = map[string]string{
	"O13": "binds those who name objectives; the core takes any name, see TestO10",
	"O14": "binds those who use EX0 to EX9, which tests do",
}

// TestEveryRequirementHasATest keeps the tests and the list above together.
func TestEveryRequirementHasATest(t *testing.T) {
	tested := make(map[string][]string)
	for _, name := range testsOfTheModule(t) {
		for _, id := range idsOf(name) {
			tested[id] = append(tested[id], name)
		}
	}
	var all []string
	for letter, numbers := range rfc8990 {
		for number := range strings.FieldsSeq(numbers) {
			all = append(all, letter+number)
		}
	}
	for _, id := range all {
		reason, left := notHere[id]
		switch {
		case left && len(tested[id]) > 0:
			t.Errorf("%s is said to have no test (%s), but it has: %v", id, reason, tested[id])
		case !left && len(tested[id]) == 0:
			t.Errorf("%s has no test, and no reason why not", id)
		}
	}
	said, err := os.ReadFile(filepath.Join(top, "docs", "CONTRIBUTING.md"))
	require.NoError(t, err)
	for id := range notHere {
		if !slices.Contains(all, id) {
			t.Errorf("%s is no requirement", id)
		}
		require.Contains(t, string(said), id[:1]+"-"+id[1:], "CONTRIBUTING.md says why not")
	}
	for id, names := range tested {
		if id[0] != 'Q' && id[0] != 'A' && !slices.Contains(all, id) {
			t.Errorf("%s is no requirement: %v", id, names)
		}
	}
}

var (
	testName = regexp.MustCompile(`^Test((?:[A-Z][0-9]{2})+)[A-Z]`)
	testID   = regexp.MustCompile(`[A-Z][0-9]{2}`)
)

// idsOf returns the requirements that a test is named after.
func idsOf(test string) []string {
	if m := testName.FindStringSubmatch(test); m != nil {
		return testID.FindAllString(m[1], -1)
	}
	return nil
}

// top is the top of the module, seen from this package.
const top = "../.."

// testsOfTheModule returns the names of all tests of the library: those of the
// examples and the monitor have nothing to do with the RFC.
func testsOfTheModule(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "examples", "monitor"}, d.Name()):
			return fs.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			names = append(names, testsIn(t, path)...)
		}
		return nil
	})
	require.NoError(t, err)
	return names
}

// testsIn returns the names of the tests in a file.
func testsIn(t *testing.T, file string) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
			names = append(names, fn.Name.Name)
		}
	}
	return names
}

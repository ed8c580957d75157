package netbed

import (
	"regexp"
	"strings"
	"unicode"
)

// selection returns the pattern that selects the test of a name alone, and of its
// subtests those that another pattern selects, by which the test itself was selected.
// Patterns are those of the flag -run: a regular expression for each level, separated by
// slashes, and alternatives of all this, separated by bars.
func selection(name, pattern string) string {
	names := strings.Split(name, "/")
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "^" + regexp.QuoteMeta(n) + "$"
	}
	self := strings.Join(quoted, "/")
	var all []string
	for _, levels := range alternatives(pattern) {
		switch {
		case !selects(levels, names):
		case len(levels) <= len(names):
			return self // with all of its subtests
		default:
			all = append(all, self+"/"+strings.Join(levels[len(names):], "/"))
		}
	}
	if all == nil {
		return self
	}
	return strings.Join(all, "|")
}

// selects reports whether the levels of a pattern select a test, or subtests of it.
func selects(levels, names []string) bool {
	for i, level := range levels[:min(len(levels), len(names))] {
		level = strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) {
				return '_' // as in the names of subtests
			}
			return r
		}, level)
		if re, err := regexp.Compile(level); err != nil || !re.MatchString(names[i]) {
			return false
		}
	}
	return true
}

// alternatives returns the alternatives of a pattern, each as its levels.
func alternatives(pattern string) [][]string {
	all := [][]string{{""}}
	class, group := 0, 0 // brackets that are open
	for i := 0; i < len(pattern); i++ {
		last := all[len(all)-1]
		outside := class == 0 && group == 0
		switch c := pattern[i]; {
		case c == '/' && outside:
			all[len(all)-1] = append(last, "")
			continue
		case c == '|' && outside:
			all = append(all, []string{""})
			continue
		case c == '\\' && i+1 < len(pattern):
			last[len(last)-1] += pattern[i : i+2]
			i++
			continue
		case c == '[':
			class++
		case c == ']':
			class = max(class-1, 0)
		case c == '(' && class == 0:
			group++
		case c == ')' && class == 0:
			group--
		}
		last[len(last)-1] += pattern[i : i+1]
	}
	return all
}

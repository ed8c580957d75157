package main

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lineOf returns the line in which a key such as "rate" or "program[1].name" is
// set, or else that of the table that lacks it, or else the first.
func lineOf(text []byte, key string) int {
	var p unstable.Parser
	p.Reset(text)
	line, table := 1, ""
	counts := make(map[string]int) // of tables in lists, by their name
	for p.NextExpression() {
		e := p.Expression()
		var parts []string
		first := -1
		for names := e.Key(); names.Next(); {
			if first < 0 {
				first = p.Shape(names.Node().Raw).Start.Line
			}
			parts = append(parts, string(names.Node().Data))
		}
		name := strings.Join(parts, ".")
		switch e.Kind {
		case unstable.ArrayTable:
			table = fmt.Sprintf("%s[%d]", name, counts[name])
			counts[name]++
			name = table
		case unstable.Table:
			if n := counts[parts[0]]; n > 0 { // a part of the last one in the list
				parts[0] = fmt.Sprintf("%s[%d]", parts[0], n-1)
			}
			table = strings.Join(parts, ".")
			name = table
		default:
			if table != "" {
				name = table + "." + name
			}
		}
		if name == key || strings.HasPrefix(key, name+".") {
			line = first
		}
	}
	return line
}

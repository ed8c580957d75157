package conform_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/go-grasp/grasp/examples/internal/conform"
)

// Each check is declared in full, and of each strength there are some.
func TestChecksAreDeclared(t *testing.T) {
	checks := conform.Checks()
	assert.Greater(t, len(checks), 100)
	names := make(map[string]bool)
	strengths := make(map[conform.Strength]int)
	for _, c := range checks {
		assert.False(t, names[c.Name], "two checks have the name %s", c.Name)
		names[c.Name] = true
		strengths[c.Strength]++
		assert.Regexp(t, `^[A-Z]-\d\d$`, c.ID, c.Name)
		assert.Regexp(t, `^[a-z]+/[a-z0-9-]+$`, c.Name)
		assert.Regexp(t, `^([0-9]+(\.[0-9]+)*|A\.[0-9])$`, c.Section, c.Name)
		assert.Regexp(t, `^[A-Z].*\.$`, c.Demand, c.Name)
		assert.True(t, c.Matches([]string{c.ID}) && c.Matches([]string{c.Group()}) && c.Matches([]string{"x", c.Name}), c.Name)
		assert.False(t, c.Matches([]string{"Z-99"}) || c.Matches(nil), c.Name)
	}
	for _, s := range []conform.Strength{conform.Must, conform.Should, conform.May, conform.Text} {
		assert.Positive(t, strengths[s], s)
	}
	assert.Greater(t, strengths[conform.Must], 60)
	assert.True(t, slices.ContainsFunc(checks, func(c conform.Check) bool { return c.Slow() }))
}

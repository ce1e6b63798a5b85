package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRun_RoundTripsAreTheSame: and all operations are measured.
func TestRun_RoundTripsAreTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a database, which -short leaves out")
	}
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, 2, 0))
	for _, o := range ops {
		assert.Contains(t, out.String(), o.name)
	}
	found := 0
	for line := range strings.Lines(out.String()) {
		if what, trips, is := strings.Cut(strings.TrimSpace(line), "\t\t"); is && what == "round trips" {
			without, with, _ := strings.Cut(trips, "\t")
			assert.Equal(t, without, with)
			found++
		}
	}
	assert.Equal(t, len(ops), found)
}

package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestUpToDate fails until dashboard.json is written anew.
func TestUpToDate(t *testing.T) {
	want, err := build()
	require.NoError(t, err)
	have, err := os.ReadFile("../dashboard.json")
	require.NoError(t, err)
	assert.True(t, string(want) == string(have),
		"dashboard.json is not what panels.go and rows.go make: run make monitoring")
}

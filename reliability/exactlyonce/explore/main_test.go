package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCommand_Mistake_PrintsTheWayThere(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	assert.Equal(t, exitFine, command([]string{"-mistake", "asks-by-reading"}, &stdout, &stderr))
	assert.Contains(t, stdout.String(), "this does not hold: the effect of a transaction is there at most once\n")
	assert.Contains(t, stdout.String(), "  2. client 1 sends commit 1 of transaction 1\n")
	assert.Contains(t, stdout.String(), "commit 1 has committed transaction 1, commit 2 has committed transaction 1]\n")
	assert.Empty(t, stderr.String())
}

func TestCommand_UnknownMistake_NamesThoseThatThereAre(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	assert.Equal(t, exitUsage, command([]string{"-mistake", "none-such"}, &stdout, &stderr))
	assert.Contains(t, stderr.String(), `there is no mistake "none-such"`)
	assert.Contains(t, stderr.String(), "keeps-key")
	assert.Empty(t, stdout.String())
}

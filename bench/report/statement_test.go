package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const publishedStatements = "../results/statement.txt"

func compared(t *testing.T, now string) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, run([]string{"--statement", publishedStatements, now}, &out))
	return out.String()
}

func TestStatement_SameAsPublished_NamesNone(t *testing.T) {
	out := compared(t, publishedStatements)
	assert.Contains(t, out, "No operation is certainly slower")
	assert.Contains(t, out, "| tx,rows=10000,cols=4 |")
}

func TestStatement_OneOperationIsSlower_IsNamedAlone(t *testing.T) {
	text, err := os.ReadFile(publishedStatements)
	require.NoError(t, err)
	pgx := regexp.MustCompile(`(/op=tx=10/peer=pgx-.*ns/op\t)(\S+)( cpu-ns/op)`)
	slow := pgx.ReplaceAllString(string(text), "${1}1${3}")
	assert.Contains(t, compared(t, write(t, "new.txt", slow)), "Slower beside pgx than the published results: tx=10\n")
}

func TestStatement_TheMachineIsTenTimesAsSlow_NamesNone(t *testing.T) {
	text, err := os.ReadFile(publishedStatements)
	require.NoError(t, err)
	slow := regexp.MustCompile(`(\S+)( cpu-ns/op)`).ReplaceAllString(string(text), "${1}e1${2}")
	assert.NotContains(t, compared(t, write(t, "new.txt", slow)), "Slower")
}

func TestStatement_FileWithoutPairs_IsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"one peer": {"BenchmarkStatement/op=exec/peer=pgx-1\t10\t5.0 cpu-ns/op\n", "0 slices of exec, and 1 of pgx"},
		"nothing":  {"PASS\n", "no result of BenchmarkStatement"},
	} {
		t.Run(name, func(t *testing.T) {
			now := filepath.Join(t.TempDir(), "now.txt")
			require.NoError(t, os.WriteFile(now, []byte(c.text), 0o600))
			require.ErrorContains(t, run([]string{"--statement", publishedStatements, now}, nil), c.want)
		})
	}
}

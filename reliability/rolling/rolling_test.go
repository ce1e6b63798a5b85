package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/crdbsim/clustertest"
	"github.com/reprise-go/cockroachdb/reliability/internal/command"
)

func runRolling(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// TestRolling_ThroughPgx has every mode take nodes away under pgx, of which nothing is promised but that it says the
// truth.
func TestRolling_ThroughPgx(t *testing.T) {
	t.Setenv("COCKROACH_URL", "")
	for mode, through := range map[string]string{
		modeDrain: throughHosts, modeKill: throughBalancer, modeSilence: throughHosts,
	} {
		code, stdout, stderr := runRolling(t, "-for", "2s", "-workers", "8", "-nodes", "2", "-drivers", "pgx",
			"-accounts", "100", "-mode", mode, "-through", through)
		assert.Equal(t, command.Fine, code, "%s\n%s", stdout, stderr)
		for _, said := range []string{"node 2 is taken away", "node 2 is back", "committed", "errors seen", "longest gap"} {
			assert.Contains(t, stdout, said)
		}
		assert.NotContains(t, stdout, "NOT HELD")
	}
}

// TestRolling_ExecuteTx has nodes killed under an application of cockroach-go's, which notices nothing.
func TestRolling_ExecuteTx(t *testing.T) {
	t.Setenv("COCKROACH_URL", "")
	code, stdout, stderr := runRolling(t, "-for", "3s", "-workers", "8", "-nodes", "2", "-drivers", "cockroachdb",
		"-accounts", "100", "-mode", modeKill, "-execute-tx", "-exactly-once")
	assert.Equal(t, command.Fine, code, "%s\n%s", stdout, stderr)
	assert.Regexp(t, `errors seen +│ +0 │`, stdout)
	assert.Regexp(t, `ambiguous commits +│ +0 │`, stdout)
}

// TestRolling_RealCluster has crdbsim simulate the cluster that is running, and commands that only take down that they
// were called.
func TestRolling_RealCluster(t *testing.T) {
	c := clustertest.New(t, 2, crdbsim.Config{})
	t.Setenv("COCKROACH_URL", c.DSN())
	calls := filepath.Join(t.TempDir(), "calls")
	code, stdout, stderr := runRolling(t, "-for", "1s", "-workers", "4", "-nodes", "2", "-drivers", "pgx", "-params", "",
		"-stop-cmd", "echo stop {node} >>"+calls, "-start-cmd", "echo start {node} >>"+calls)
	assert.Equal(t, command.Fine, code, "%s\n%s", stdout, stderr)
	called, err := os.ReadFile(calls)
	require.NoError(t, err)
	assert.Equal(t, "stop 1\nstart 1\nstop 2\nstart 2\n", string(called))
	code, _, stderr = runRolling(t, "-for", "1s", "-stop-cmd", "exit 3", "-start-cmd", "true", "-drivers", "pgx")
	assert.Equal(t, command.Failed, code)
	assert.Contains(t, stderr, "take node 1 away: exit 3: exit status 3")
}

func TestRolling_WrongFlags(t *testing.T) {
	t.Setenv("COCKROACH_URL", "")
	for _, args := range [][]string{
		{"more"},
		{"-for", "0s"},
		{"-mode", "explode"},
		{"-through", "walls"},
		{"-nodes", "1"},
		{"-workers", "0"},
		{"-accounts", "1"},
		{"-stop-cmd", "true"},
		{"-stop-cmd", "true", "-start-cmd", "true"},
		{"-drivers", "odbc"},
		{"-unknown"},
	} {
		code, stdout, stderr := runRolling(t, args...)
		assert.Equal(t, command.Failed, code, "%v", args)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, "Usage of rolling", "%v", args)
	}
	code, _, _ := runRolling(t, "-h")
	assert.Equal(t, command.Fine, code)
	t.Setenv("COCKROACH_URL", "postgresql://nobody@127.0.0.1:1/x")
	code, _, stderr := runRolling(t)
	assert.Equal(t, command.Failed, code)
	assert.Contains(t, stderr, "-stop-cmd")
}

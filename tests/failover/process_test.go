//go:build unix

package failover_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// A process is a server that ends with the test, if it is not stopped before.
type process struct {
	*guarded.Server
	stopped bool
}

// startProcess starts commands of sh, which find their folder in $folder; files are put there first. At the end the one
// that is running gets the signal.
func startProcess(t *testing.T, signal, commands string, files map[string]string) *process {
	t.Helper()
	server, err := guarded.Start(guarded.Command{Signal: signal, Commands: commands, Prepare: func(folder string) error {
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
				return err
			}
		}
		return nil
	}})
	require.NoError(t, err)
	p := &process{Server: server}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop ends the process, and returns when it is gone.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if !p.stopped {
		p.stopped = true
		assert.NoError(t, p.Stop())
	}
}

// await waits until ready has no error.
func (p *process) await(t *testing.T, ready func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Await(ctx, ready); err != nil {
		require.NoError(t, p.Failure(err))
	}
}

// unavailable skips the test where there is no such program; in CI it fails.
func unavailable(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// quoted is a word for sh.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

package crdbsim_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

// runMain runs the tests on a PostgreSQL that goes with this process, however it ends. Where there is only a
// CockroachDB they have nothing to say.
func runMain(m *testing.M) int {
	e, err := engine.Start(context.Background(), engine.Options{PostgreSQL: true})
	if errors.Is(err, engine.ErrNone) {
		if found, findErr := engine.Find(engine.Options{}); findErr == nil {
			fmt.Fprintln(os.Stderr, "no tests: crdbsim needs PostgreSQL; the engine is", found)
			return 0
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	crdbsim.UsePostgres(e.Direct("postgresql:///postgres"))
	code := m.Run()
	if err := errors.Join(e.Close(), goleak.Find()); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

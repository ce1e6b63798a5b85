// Package enginetest gives the tests of a package one engine to share.
package enginetest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// shared starts when a test first asks for it, so that a run of unit tests alone, or a fuzzing worker, doesn't pay for
// it.
var shared struct {
	once   sync.Once
	engine *engine.Engine
	err    error

	mu    sync.Mutex
	drops []func() // of the databases that DSN has made
}

// Main runs a package's tests, closes their engine if they had one, and fails if goroutines are left. It is for
// TestMain:
//
//	func TestMain(m *testing.M) { enginetest.Main(m) }
func Main(m *testing.M, leaks ...goleak.Option) {
	code := m.Run()
	if e := shared.engine; e != nil {
		for _, drop := range shared.drops {
			drop()
		}
		if err := e.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "engine: close:", err)
			code = max(code, 1)
		}
	}
	if err := stillThere(leaks...); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "goleak:", err)
		code = 1
	}
	os.Exit(code)
}

// patience is how long a goroutine may take to end. Where the machine is busy, pgx's that closes a lost connection
// takes longer than the half second that goleak waits.
const patience = 20 * time.Second

// stillThere returns an error that names the goroutines which do not end.
func stillThere(leaks ...goleak.Option) (err error) {
	for began := time.Now(); time.Since(began) < patience; {
		if err = goleak.Find(leaks...); err == nil {
			return nil
		}
	}
	return err
}

// Get is the engine of this package's tests. With -short the test is skipped.
func Get(t testing.TB) *engine.Engine {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a database, which -short leaves out")
	}
	e, err := start()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// start starts the engine, or says why it could not, the first time; after that it says the same.
func start() (*engine.Engine, error) {
	shared.once.Do(func() {
		shared.engine, shared.err = engine.Start(context.Background(), engine.Options{})
		if shared.err == nil {
			// Not to the standard output: an Example may be running, of whose output it would become a part.
			fmt.Fprintln(os.Stderr, "engine:", shared.engine.Name())
		}
	})
	return shared.engine, shared.err
}

// DSN makes an empty database, which goes when all tests have run, and returns its DSN. It is for Example functions,
// which have no testing.TB; where no database can be had it panics.
func DSN() string {
	e, err := start()
	if err != nil {
		panic(err)
	}
	dsn, drop, err := e.NewDatabase(context.Background())
	if err != nil {
		panic(err)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.drops = append(shared.drops, drop)
	return dsn
}

// NewDB makes an empty database, which goes at the end of the test, and returns its DSN.
func NewDB(t testing.TB) string {
	t.Helper()
	dsn, drop, err := Get(t).NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(drop)
	return dsn
}

// NewDirectDB is NewDB with a DSN that leads straight to PostgreSQL. On a real CockroachDB the test is skipped.
func NewDirectDB(t testing.TB) string {
	t.Helper()
	if Get(t).IsCockroach() {
		t.Skip("needs PostgreSQL; this engine is " + Get(t).Name())
	}
	return Get(t).Direct(NewDB(t))
}

// NewSim makes an empty database behind a Sim of the test's own, for faults that don't disturb other tests. On a real
// CockroachDB the test is skipped.
func NewSim(t testing.TB, cfg crdbsim.Config) (sim *crdbsim.Sim, dsn string) {
	t.Helper()
	e := Get(t)
	if e.IsCockroach() {
		t.Skip("injects faults, which needs crdbsim; this engine is " + e.Name())
	}
	dsn = NewDB(t)
	sim, err := e.NewSim(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	return sim, e.Through(sim, dsn)
}

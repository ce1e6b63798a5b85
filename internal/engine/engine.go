// Package engine finds a database server to run tests, demonstrations and benchmarks on, or starts one: the
// CockroachDB that COCKROACH_URL names; else a cockroach of the PATH, in memory; else PostgreSQL in a temporary folder
// behind crdbsim.
package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// startTimeout is for slow machines: PostgreSQL takes about a second, CockroachDB a few.
const startTimeout = 60 * time.Second

// Options change what Start looks for. The zero value is what tests want.
type Options struct {
	URL        string         // of a CockroachDB; default COCKROACH_URL
	PostgreSQL bool           // PostgreSQL and nothing else, even where there is a CockroachDB
	Room       int            // how many connections PostgreSQL has room for; default 300
	Sim        crdbsim.Config // for the Sim in front of PostgreSQL; Upstream is filled in
}

// An Engine is a server that is ready. What was started for it is stopped and removed by Close, and also when this
// process ends in any other way, SIGKILL included.
type Engine struct {
	name   string
	url    string          // through the Sim, where there is one
	direct string          // without it
	maker  string          // for making databases
	server *guarded.Server // nil if it was running before
	sim    *crdbsim.Sim

	mu    sync.Mutex
	sims  []*crdbsim.Sim // all that were started, to be closed
	close func() error
}

// Start finds or starts a server. The context bounds the start alone.
func Start(ctx context.Context, opts Options) (*Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	found, err := find(opts)
	if err != nil {
		return nil, err
	}
	e, err := found.start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("engine: %s: %w", found.describe(), err)
	}
	e.close = sync.OnceValue(e.shutDown)
	return e, nil
}

// Find says in words what Start would use, without starting it.
func Find(opts Options) (string, error) {
	found, err := find(opts)
	if err != nil {
		return "", err
	}
	return found.describe(), nil
}

// Name says which server it is, for people.
func (e *Engine) Name() string { return e.name }

// URL is a DSN of a ready database. On PostgreSQL it leads through the Sim.
func (e *Engine) URL() string { return e.url }

// IsCockroach reports whether the server is a real CockroachDB.
func (e *Engine) IsCockroach() bool { return e.sim == nil }

// Sim is what stands between URL and PostgreSQL; nil on a real CockroachDB.
func (e *Engine) Sim() *crdbsim.Sim { return e.sim }

// Direct turns a DSN of this engine into one of the same database that leads straight to PostgreSQL, with no Sim
// between. On a real CockroachDB it is the same.
func (e *Engine) Direct(dsn string) string {
	if e.IsCockroach() {
		return dsn
	}
	return withDatabase(e.direct, databaseOf(dsn))
}

// Through turns a DSN of this engine into one of the same database that leads through sim.
func (e *Engine) Through(sim *crdbsim.Sim, dsn string) string { return simURL(sim, databaseOf(dsn)) }

// NewSim starts a further Sim in front of the same PostgreSQL, so that a test can inject faults without disturbing
// others. Close closes it, if the caller has not. On a real CockroachDB it is an error.
func (e *Engine) NewSim(cfg crdbsim.Config) (*crdbsim.Sim, error) {
	if e.IsCockroach() {
		return nil, errors.New("faults can't be injected into a real CockroachDB: unset COCKROACH_URL and take cockroach off the PATH")
	}
	sim, err := e.startSim(cfg)
	return sim, err
}

// NewDatabase makes an empty database. drop removes it, with whatever is still connected to it.
func (e *Engine) NewDatabase(ctx context.Context) (dsn string, drop func(), err error) {
	name := "test_" + strings.ToLower(rand.Text()[:12])
	// template0 has no connections, so that several can be made of it at once.
	create, remove := "CREATE DATABASE "+name+" TEMPLATE template0", "DROP DATABASE "+name+" WITH (FORCE)"
	if e.IsCockroach() {
		create, remove = "CREATE DATABASE "+name, "DROP DATABASE "+name+" CASCADE"
	}
	if err := e.admin(ctx, create); err != nil {
		return "", nil, err
	}
	drop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		// Nothing depends on it: the server goes away soon, or the name is never used again.
		_ = e.admin(ctx, remove)
	}
	return withDatabase(e.url, name), drop, nil
}

func (e *Engine) admin(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, e.maker)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// Close stops what Start has started and removes its files. It may be called more than once.
func (e *Engine) Close() error { return e.close() }

func (e *Engine) shutDown() error {
	e.mu.Lock()
	sims := e.sims
	e.sims = nil
	e.mu.Unlock()
	var errs []error
	for _, sim := range sims {
		errs = append(errs, sim.Close())
	}
	if e.server != nil {
		errs = append(errs, e.server.Stop())
	}
	return errors.Join(errs...)
}

// defaultDatabase is the one that CockroachDB has from the start.
const defaultDatabase = "defaultdb"

func databaseOf(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || strings.Trim(u.Path, "/") == "" {
		return defaultDatabase
	}
	return strings.Trim(u.Path, "/")
}

func withDatabase(dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn // can't be: Start has connected to it
	}
	u.Path = "/" + name
	return u.String()
}

package program

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx", which is trusted to read the tables

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A Group is a place to play rounds in, one after the other: a database with a simulator of its own in front of it, and a pool.
type Group struct {
	db       *sql.DB // through the driver under test
	trusted  *sql.DB // past it, and past the simulator
	sim      *crdbsim.Sim
	postgres bool
	workers  int
	drop     func()
}

// NewGroup makes a group on an engine that is no real CockroachDB, for rounds of that many workers.
func NewGroup(ctx context.Context, e *engine.Engine, workers int, postgres bool, metrics *cockroachdb.Metrics) (_ *Group, err error) {
	g := &Group{postgres: postgres, workers: workers}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	dsn, drop, err := e.NewDatabase(ctx)
	if err != nil {
		return nil, err
	}
	g.drop = drop
	if g.sim, err = e.NewSim(crdbsim.Config{PostgreSQL: postgres}); err != nil {
		return nil, err
	}
	if g.trusted, err = sql.Open("pgx", e.Direct(dsn)); err != nil {
		return nil, err
	}
	g.trusted.SetMaxOpenConns(1)
	g.trusted.SetMaxIdleConns(1)
	if err := g.create(ctx); err != nil {
		return nil, err
	}
	cfg, err := cockroachdb.ParseConfig(e.Through(g.sim, dsn))
	if err != nil {
		return nil, err
	}
	cfg.Metrics, cfg.DBName, cfg.RetryPolicy = metrics, "soak", Default.policy()
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	g.db = sql.OpenDB(connector)
	g.db.SetMaxOpenConns(workers)
	return g, nil
}

// create makes the tables. Where a table is read whole, everybody who writes to it is in a conflict: so few are.
func (g *Group) create(ctx context.Context) error {
	var cols []string
	for _, k := range kinds {
		cols = append(cols, k.name+" "+k.sqlType)
	}
	for _, text := range []string{
		"CREATE TABLE kv (k INT8 PRIMARY KEY, " + strings.Join(cols, ", ") + ")",
		"CREATE TABLE clock (n INT8)",
		"CREATE TABLE commits (n INT8, program INT8, call INT8)",
		"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database()); END $$",
	} {
		if _, err := g.trusted.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("create the tables of a group: %w", err)
		}
	}
	return nil
}

// Close gives everything back.
func (g *Group) Close() {
	for _, db := range []*sql.DB{g.db, g.trusted} {
		if db != nil {
			_ = db.Close()
		}
	}
	if g.sim != nil {
		_ = g.sim.Close()
	}
	if g.drop != nil {
		g.drop()
	}
}

// Conns are how many connections the pool has open, and how many clients the simulator has.
func (g *Group) Conns() (open, clients int) { return g.db.Stats().OpenConnections, g.sim.Conns() }

// Postgres says whether the simulator lets PostgreSQL through as it is.
func (g *Group) Postgres() bool { return g.postgres }

// safetyNet is for a round that hangs. Nothing passes or fails by how long it takes otherwise.
const safetyNet = 5 * time.Minute

// Play runs a round, and looks at what it has come to. Once ctx is done no further program is begun, and those that haven't run have no
// result. An error means that the round could not be run.
func (g *Group) Play(ctx context.Context, r *Round) (*History, error) {
	done := ctx.Done()
	ctx = context.WithoutCancel(ctx)
	if err := g.reset(ctx, r.Size.Keys); err != nil {
		return nil, fmt.Errorf("set the tables up: %w", err)
	}
	run := &runner{db: g.db, shared: make(map[string]*sql.Stmt)}
	g.db.SetMaxIdleConns(g.workers)
	for text := range sharedTexts(r) {
		stmt, err := g.db.PrepareContext(ctx, text) //nolint:sqlclosecheck // closed when all programs have ended
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", text, err)
		}
		run.shared[text] = stmt
	}
	h := &History{Results: make(map[int64]Result)}
	g.storm(ctx, done, r, run, h)
	for _, stmt := range run.shared {
		_ = stmt.Close()
	}
	h.Left = append(h.Left, g.settle(ctx)...)
	if err := g.look(ctx, h); err != nil {
		return nil, fmt.Errorf("look at the tables: %w", err)
	}
	return h, nil
}

// storm runs the programs under the faults, until done.
func (g *Group) storm(ctx context.Context, done <-chan struct{}, r *Round, run *runner, h *History) {
	ctx, cancel := context.WithTimeout(ctx, safetyNet)
	defer cancel()
	storm := r.Faults.start(g.sim)
	var workers sync.WaitGroup
	var mu sync.Mutex
	for _, list := range r.Workers {
		workers.Go(func() {
			for _, p := range list {
				select {
				case <-done:
					return
				default:
				}
				res := run.run(ctx, p)
				mu.Lock()
				h.Results[p.ID] = res
				mu.Unlock()
				storm.programEnded()
			}
		})
	}
	workers.Wait()
	h.Faults = storm.stop()
	if ctx.Err() == context.DeadlineExceeded {
		h.Left = append(h.Left, fmt.Sprintf("the programs did not end within %v", safetyNet))
	}
}

// settle waits until nothing is under way any more: a statement of a client that has hung up may still be about to run. It says what
// stays behind.
func (g *Group) settle(ctx context.Context) (left []string) {
	ctx, cancel := context.WithTimeout(ctx, safetyNet)
	defer cancel()
	for g.db.Stats().InUse > 0 {
		if pause(ctx) != nil {
			return []string{fmt.Sprintf("connections in use by nobody: %d", g.db.Stats().InUse)}
		}
	}
	g.db.SetMaxIdleConns(-1)
	for g.sim.Conns() > 0 {
		if pause(ctx) != nil {
			return []string{fmt.Sprintf("connections that the pool has closed and the server has not seen closed: %d", g.sim.Conns())}
		}
	}
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Millisecond):
		return nil
	}
}

func (g *Group) reset(ctx context.Context, keys int) error {
	if _, err := g.trusted.ExecContext(ctx, "TRUNCATE kv, clock, commits; INSERT INTO clock VALUES (0)"); err != nil {
		return err
	}
	for k, r := range newModel(keys).kv {
		if _, err := g.trusted.ExecContext(ctx, "INSERT INTO kv (k, i, o) VALUES ($1, $2, $3)", k, r[Number], r[Bool]); err != nil {
			return err
		}
	}
	return nil
}

// look reads the tables.
func (g *Group) look(ctx context.Context, h *History) error {
	if err := g.trusted.QueryRowContext(ctx, "SELECT n FROM clock").Scan(&h.Clock); err != nil {
		return err
	}
	commits, err := g.trusted.QueryContext(ctx, "SELECT n, program, call FROM commits")
	if err != nil {
		return err
	}
	defer commits.Close()
	for commits.Next() {
		var c Commit
		if err := commits.Scan(&c.Clock, &c.Program, &c.Call); err != nil {
			return err
		}
		h.Commits = append(h.Commits, c)
	}
	if err := commits.Err(); err != nil {
		return err
	}
	rows, err := g.trusted.QueryContext(ctx, "SELECT * FROM kv")
	if err != nil {
		return err
	}
	defer rows.Close()
	a, err := read(rows, -1)
	h.Rows = make(map[int]string)
	for _, row := range a.rows {
		k, _ := row[0].(int64)
		h.Rows[int(k)] = showRow(row[1:])
	}
	return err
}

package program

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx", which is trusted to read the tables

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A Group is a place to play rounds in, one after the other: a database with a simulator of its own in front of it, and
// pools.
type Group struct {
	pools   map[way]*sql.DB // through the driver under test
	metrics *cockroachdb.Metrics
	trusted *sql.DB // past it, and past the simulator
	front   *front
	server  Server
	workers int
	drop    func()

	mu   sync.Mutex
	told []string // what hooks were told that must not be
}

// A way is how the programs of a round reach the server: through a wrapper of the driver or not, with commit markers or
// not, by one of the front's DSNs.
type way struct {
	wrapped, marked bool

	dsn int
}

func (r *Round) way() way {
	w := way{wrapped: r.Wrapped, marked: r.Marked}
	if r.Through {
		w.dsn = 1
	}
	return w
}

// NewGroup makes a group on an engine that is no real CockroachDB, for rounds of that many workers.
func NewGroup(
	ctx context.Context, e *engine.Engine, workers int, server Server, metrics *cockroachdb.Metrics,
) (_ *Group, err error) {
	g := &Group{server: server, workers: workers, metrics: metrics, pools: make(map[way]*sql.DB)}
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
	if g.front, err = newFront(ctx, e, server, dsn); err != nil {
		return nil, err
	}
	// Types change: nothing is believed of a statement that was described before.
	if g.trusted, err = sql.Open("pgx", e.Direct(dsn)+"&default_query_exec_mode=describe_exec"); err != nil {
		return nil, err
	}
	g.trusted.SetMaxOpenConns(1)
	g.trusted.SetMaxIdleConns(1)
	if err := g.create(ctx); err != nil {
		return nil, err
	}
	return g, g.open()
}

func (g *Group) open() (err error) {
	for i := range g.front.dsns {
		for w := range 4 {
			w := way{wrapped: w&1 != 0, marked: w&2 != 0, dsn: i}
			if g.pools[w], err = g.openPool(w, func(*cockroachdb.Config) {}); err != nil {
				delete(g.pools, w)
				return err
			}
		}
	}
	return nil
}

// openPool opens a pool that goes a way.
func (g *Group) openPool(w way, change func(*cockroachdb.Config)) (*sql.DB, error) {
	cfg, err := cockroachdb.ParseConfig(g.front.dsns[w.dsn])
	if err != nil {
		return nil, err
	}
	cfg.Metrics, cfg.DBName, cfg.RetryPolicy = g.metrics, "soak", Default.policy()
	cfg.OnSettled, cfg.CommitMarker = g.settled, w.marked
	change(cfg)
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(through(connector, w.wrapped)), nil
}

// settled looks at what the driver tells of a transaction that lost a conflict, and then the connection while the
// driver was dealing with it: the conflict must be in the error.
func (g *Group) settled(_ context.Context, e cockroachdb.OutcomeEvent) {
	told := slices.ContainsFunc(lost, func(code string) bool { return finds(e.Err, code) })
	if e.Attempts != 1 || e.Outcome != cockroachdb.OutcomeConnectionLost || told {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	const text = "a conflict was met and no attempt begun, and there is no conflict in %T: %v"
	g.told = append(g.told, fmt.Sprintf(text, e.Err, e.Err))
}

// create makes the tables. Where a table is read whole, everybody who writes to it is in a conflict: so few are.
func (g *Group) create(ctx context.Context) error {
	var cols []string
	for _, k := range kinds {
		cols = append(cols, k.name+" "+k.sqlType)
	}
	texts := []string{
		"CREATE TABLE kv (k INT8 PRIMARY KEY, " + strings.Join(cols, ", ") + ")",
		"CREATE TABLE clock (n INT8)",
		"CREATE TABLE commits (n INT8, program INT8, call INT8, part INT8)",
		"CREATE TABLE copied (program INT8, i INT8)",
		createBorn,
		createHalves,
		makeMoods,
		"CREATE TABLE typed (k INT8 PRIMARY KEY, v " + firstType + ", m mood)",
		alterDatabase("enable_seqscan", "off"),
	}
	for _, schema := range schemas {
		texts = append(texts, "CREATE SCHEMA "+schema, "CREATE TABLE "+schema+".spot (k INT8 PRIMARY KEY, v INT8)")
	}
	texts = append(append(texts, createBump...), createPairs...)
	for name, value := range defaults {
		texts = append(texts, alterDatabase(name, value))
	}
	for _, text := range texts {
		if _, err := g.trusted.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("create the tables of a group: %s: %w", text, err)
		}
	}
	return cockroachdb.CreateCommitTable(ctx, g.trusted)
}

func alterDatabase(setting, value string) string {
	return "DO $$ BEGIN EXECUTE format(" +
		"'ALTER DATABASE %I SET " + setting + " = " + value + "', current_database()); END $$"
}

// Close gives everything back.
func (g *Group) Close() {
	for _, db := range g.pools {
		_ = db.Close()
	}
	if g.trusted != nil {
		_ = g.trusted.Close()
	}
	if g.front != nil {
		_ = g.front.close()
	}
	if g.drop != nil {
		g.drop()
	}
}

// Conns are how many connections the pools have open, and how many clients the simulators have.
func (g *Group) Conns() (open, clients int) {
	for _, db := range g.pools {
		open += db.Stats().OpenConnections
	}
	return open, g.front.clients()
}

// Server is what the simulator plays.
func (g *Group) Server() Server { return g.server }

// safetyNet is for a round that hangs. Nothing passes or fails by how long it takes otherwise.
const safetyNet = 5 * time.Minute

// Play runs a round, and looks at what it has come to. Once ctx is done no further program is begun, and those that
// haven't run have no result. An error means that the round could not be run.
func (g *Group) Play(ctx context.Context, r *Round) (*History, error) {
	done := ctx.Done()
	ctx = context.WithoutCancel(ctx)
	if err := g.reset(ctx, r.Size.Keys); err != nil {
		return nil, fmt.Errorf("set the tables up: %w", err)
	}
	db, watch, err := g.poolFor(ctx, r)
	if err != nil {
		return nil, err
	}
	if db != g.pools[r.way()] {
		defer db.Close()
	}
	run, err := g.newRunner(ctx, r, db)
	if err != nil {
		return nil, err
	}
	h := &History{Began: time.Now(), Results: make(map[int64]Result)}
	if err := g.storm(ctx, done, r, run, watch, h); err != nil {
		return nil, err
	}
	for _, stmt := range run.shared {
		_ = stmt.Close()
	}
	if r.changesTypes() {
		if h.Stuck, err = g.recover(ctx, run.db); err != nil {
			return nil, err
		}
	}
	if err := g.settle(ctx, run.db, h); err != nil {
		return nil, err
	}
	if err := g.look(ctx, h); err != nil {
		return nil, fmt.Errorf("look at the tables: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h.Told, g.told = g.told, nil
	return h, nil
}

// poolFor returns the pool of a round; one that learns locks is the round's own, and is watched. So is one that learns
// what it can pin, without being watched: an error in another round must not keep it from that. And so is one whose
// server can't go on after a ROLLBACK TO: it would avoid that in the rounds after.
func (g *Group) poolFor(ctx context.Context, r *Round) (db *sql.DB, watch *lockWatch, err error) {
	switch {
	case r.has(Bear), r.Faults.Rates[refusedAfterRestart] > 0:
		db, err = g.openPool(r.way(), func(*cockroachdb.Config) {})
		return db, nil, err
	case !r.learnsLocks():
		return g.pools[r.way()], nil, nil
	}
	watch = newLockWatch()
	if db, err = g.openLearning(r.way(), watch); err != nil {
		return nil, nil, err
	}
	if err = g.teach(ctx, db, r); err == nil {
		err = g.reset(ctx, r.Size.Keys)
	}
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, watch, nil
}

func (g *Group) newRunner(ctx context.Context, r *Round, db *sql.DB) (*runner, error) {
	run := &runner{db: db, shared: make(map[string]*sql.Stmt)}
	if g.server != Cluster {
		run.sim = g.front.nodes[0]
	}
	most := g.workers
	if r.Kept { // by its worker, besides one of the pool's
		most *= 2
	}
	run.db.SetMaxIdleConns(g.workers)
	run.db.SetMaxOpenConns(most)
	if err := run.db.PingContext(ctx); err != nil { // while the driver has seen the server well lately, it waits for it
		return nil, fmt.Errorf("connect before the faults begin: %w", err)
	}
	for text := range sharedTexts(r) {
		stmt, err := run.db.PrepareContext(ctx, text) //nolint:sqlclosecheck // closed when all programs have ended
		if err != nil {
			return nil, fmt.Errorf("prepare %s: %w", text, err)
		}
		run.shared[text] = stmt
	}
	return run, nil
}

// storm runs the programs under the faults, until done. An error means that a node can't come back.
func (g *Group) storm(
	ctx context.Context, done <-chan struct{}, r *Round, run *runner, watch *lockWatch, h *History,
) error {
	ctx, cancel := context.WithTimeout(ctx, safetyNet)
	defer cancel()
	hung := stacksAtDeadline(ctx)
	storm := r.Faults.start(g.front, watch)
	var workers sync.WaitGroup
	var mu sync.Mutex
	for _, list := range r.Workers {
		workers.Go(func() {
			own := &ownConn{db: run.db, keeps: r.Kept}
			defer own.close()
			for _, p := range list {
				select {
				case <-done:
					return
				default:
				}
				res := run.run(ctx, p, own)
				mu.Lock()
				h.Results[p.ID] = res
				mu.Unlock()
				storm.programEnded()
			}
		})
	}
	workers.Wait()
	var err error
	h.Faults, h.Farewells, err = storm.stop()
	if watch != nil {
		h.Locks = watch.stop()
	}
	if stacks := hung(); stacks != "" {
		h.Left = append(h.Left, fmt.Sprintf("the programs did not end within %v, where they were:\n%s", safetyNet, stacks))
	}
	return err
}

// stacksAtDeadline returns a function that returns where all goroutines were when ctx's deadline was reached; "" if it
// was not.
func stacksAtDeadline(ctx context.Context) (hung func() string) {
	taken := make(chan string, 1)
	stop := context.AfterFunc(ctx, func() {
		var b strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&b, 1) // a Builder takes everything
		taken <- b.String()
	})
	return func() string {
		if stop() {
			return ""
		}
		return <-taken
	}
}

// settle waits until nothing is under way any more: a statement of a client that has hung up may still be about to run.
// It takes note of what is left.
func (g *Group) settle(ctx context.Context, db *sql.DB, h *History) (err error) {
	ctx, cancel := context.WithTimeout(ctx, safetyNet)
	defer cancel()
	for db.Stats().InUse > 0 {
		if pause(ctx) != nil {
			h.Left = append(h.Left, fmt.Sprintf("connections in use by nobody: %d", db.Stats().InUse))
			return nil
		}
	}
	db.SetMaxIdleConns(-1)
	if h.Crashed, err = g.front.settle(ctx); err != nil {
		return fmt.Errorf("the pooler does not come back: %w", err)
	}
	for g.front.clients() > 0 {
		if pause(ctx) != nil {
			const text = "connections that the pool has closed and the server has not seen closed: %d"
			h.Left = append(h.Left, fmt.Sprintf(text, g.front.clients()))
			return nil
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

package faultmatrix_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
	"github.com/reprise-go/cockroachdb/internal/wirecut"
)

// A variant is a transaction, by which kind of application, and on what kind of server.
type variant struct {
	transaction
	dialect
	sloppy bool
	number int // among all, so that not each begins with the same turns
}

func (s *variant) String() string {
	application := "careful"
	if s.sloppy {
		application = "sloppy"
	}
	return fmt.Sprintf("%s, %s application: %s", s.dialect, application, s.name)
}

// A result is what became of a case.
type result struct {
	err      error
	after    error // of a statement that follows
	shown    []string
	failed   bool     // the application was shown an error that it should not have been, and went on
	believed []string // what the application believes to be in the table
	contents []string // what is
	points   []point
	talk     wirecut.Talk
	struck   []string
	client   int // as in injector
	server   int
}

// A bed is where transactions are run: a database, servers of both dialects before it, and the wire to them.
type bed struct {
	t     testing.TB
	admin *pgx.Conn
	wire  *wirecut.Wire
	sims  map[dialect]*crdbsim.Sim
	dsns  map[dialect]string
	dbs   map[dialect]*sql.DB
	cases int
	dirty bool // the schema may have been changed

	taught map[dialect]bool // the pool may have learnt something from its latest case

	known map[*variant]bool         // of these the pool has learnt all texts
	locks map[dialect]*atomic.Int32 // where the pool has learned a lock, and still adds it: in RunTx, and elsewhere
}

// newBed makes a bed for variants, all of them over real sockets or none.
func newBed(t testing.TB, all []*variant) *bed {
	t.Helper()
	dsn := enginetest.NewDirectDB(t)
	admin, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	_, err = admin.Exec(t.Context(), "SET lock_timeout = '1min'")
	require.NoError(t, err)
	h := &bed{
		t: t, admin: admin, wire: all[0].dialect.newWire((&net.Dialer{}).DialContext), dirty: true,
		sims: map[dialect]*crdbsim.Sim{}, dsns: map[dialect]string{}, dbs: map[dialect]*sql.DB{},
		taught: map[dialect]bool{}, known: map[*variant]bool{}, locks: map[dialect]*atomic.Int32{},
	}
	createCommitTable(t, dsn)
	t.Cleanup(func() { require.True(t, h.wire.Settle(0)) })
	for _, s := range all {
		if m := s.dialect; h.sims[m] == nil {
			h.serve(m, dsn)
		}
	}
	return h
}

// serve starts a server of a dialect, and a pool of connections to it.
func (h *bed) serve(m dialect, dsn string) {
	h.t.Helper()
	var err error
	h.sims[m], err = enginetest.Get(h.t).NewSim(matrixServers[m.server()])
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = h.sims[m].Close() })
	params := kit.NoWaits + "&retry_throttle_tokens=1000000" + matrixParams[m.server()]
	h.dsns[m] = kit.WithParams(enginetest.Get(h.t).Through(h.sims[m], dsn), params)
	require.NoError(h.t, h.open(m))
	h.t.Cleanup(func() { _ = h.dbs[m].Close() })
}

// open opens a pool that has learnt nothing.
func (h *bed) open(m dialect) error {
	if db := h.dbs[m]; db != nil {
		_ = db.Close()
	}
	cfg, err := cockroachdb.ParseConfig(h.dsns[m])
	if err != nil {
		return err
	}
	cfg.ConnConfig.DialFunc, cfg.Metrics = h.wire.Dial, nil
	learned := &atomic.Int32{}
	cfg.OnLockChanged = func(_ context.Context, e cockroachdb.LockEvent) {
		if learned.Add(1); e.Change != cockroachdb.LockLearned {
			learned.Store(0)
		}
	}
	h.locks[m] = learned
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return err
	}
	h.dbs[m] = sql.OpenDB(connector)
	h.dbs[m].SetMaxOpenConns(1)
	maps.DeleteFunc(h.known, func(s *variant, _ bool) bool { return s.dialect == m })
	return nil
}

// put runs a transaction, with these faults.
func (h *bed) put(s *variant, strikes ...strike) (*result, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	if err := h.teach(ctx, s); err != nil {
		return nil, err
	}
	h.taught[s.dialect] = slices.ContainsFunc(strikes, func(b strike) bool { return b.name == "XX000" })
	db := h.dbs[s.dialect]
	if err := h.prepare(ctx, s, db); err != nil {
		return nil, err
	}
	own := newEnding(ctx)
	p := &runner{db: db, ctx: own, begin: own, sloppy: s.sloppy}
	if s.sloppy {
		p.begin = ctx
	}
	h.dirty = s.isDDL()
	r := h.watch(s, p, own, strikes)
	if err := h.look(ctx, db, r); err != nil {
		return r, fmt.Errorf("after %v and %w: %w", r.struck, r.err, err)
	}
	return r, nil
}

// knowing reports whether the variant runs on a connector that knows its texts, and on a connection that does not. The
// others run on a connector that knows nothing.
func (s *variant) knowing() bool {
	return s.dialect.learnsLocks() || s.dialect.server() != ofPostgreSQL && !s.sloppy && !s.isDDL()
}

// teach makes sure that the pool knows what the variant wants it to know, and nothing else.
func (h *bed) teach(ctx context.Context, s *variant) error {
	if h.taught[s.dialect] || !s.knowing() { // that a restart by savepoint failed, or texts
		if err := h.open(s.dialect); err != nil {
			return err
		}
	}
	if s.dialect.learnsLocks() {
		if err := h.teachLock(ctx, s); err != nil {
			return err
		}
	}
	if !s.knowing() || h.known[s] {
		return nil
	}
	if err := h.prepare(ctx, s, h.dbs[s.dialect]); err != nil {
		return err
	}
	own := newEnding(ctx)
	r := h.watch(s, &runner{db: h.dbs[s.dialect], ctx: own, begin: own}, own, nil)
	h.known[s] = true
	return r.err
}

// prepare has all as it was in the beginning, and one connection that has been used for nothing. One whose session was
// replaced won't do: it knows what the one before had prepared.
func (h *bed) prepare(ctx context.Context, s *variant, db *sql.DB) error {
	h.cases++
	text := "DELETE FROM notes; INSERT INTO notes VALUES (0, 'zero'); UPDATE counters SET v = 0 WHERE v <> 0"
	switch {
	case h.dirty:
		text = matrixTables
	case h.cases%200 == 0: // what was deleted still takes room
		text = "TRUNCATE notes, counters; INSERT INTO notes VALUES (0, 'zero'); INSERT INTO counters VALUES (1, 0)"
	}
	if _, err := h.admin.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	for _, pool := range h.dbs {
		pool.SetMaxIdleConns(0) // closes what there is
		pool.SetMaxIdleConns(1)
	}
	_, err := db.ExecContext(ctx, "SELECT 1")
	return err
}

// watch runs the transaction, and notes what happens.
func (h *bed) watch(s *variant, p *runner, own *endingContext, strikes []strike) *result {
	inj := &injector{t: h.t, wire: h.wire, runner: p, end: own.end, strikes: strikes}
	sim := h.sims[s.dialect]
	for _, stage := range []crdbsim.Stage{crdbsim.AtParse, crdbsim.AtBind, crdbsim.AtExecute} {
		sim.Inject(&crdbsim.Fault{At: stage, Times: -1, Do: inj.do})
	}
	defer sim.ClearFaults()
	var cuts []wirecut.Cut
	names := make(map[wirecut.Cut]string)
	for _, b := range strikes {
		if b.side != "" {
			cut := wirecut.Cut{Side: b.side, At: b.at, How: b.how}
			cuts, names[cut] = append(cuts, cut), b.String()
		}
	}
	h.wire.Arm(cuts...)
	r := &result{err: s.run(p)}
	inj.stop()
	if s.overSockets() { // what the relay has passed on, the driver may not have read: a ROLLBACK's answer it reads now
		_, r.after = p.db.ExecContext(own.Context, "SELECT 1")
	}
	talk, struck := h.wire.Disarm()
	for _, cut := range struck {
		if len(inj.struck) == 0 {
			inj.client, inj.server = cut.Client, cut.Server
		}
		inj.struck = append(inj.struck, names[cut.Cut])
	}
	r.shown, r.failed, r.believed, r.talk = p.shown, p.failed, p.table.lines(), talk
	r.points, r.struck, r.client, r.server = inj.points, inj.struck, inj.client, inj.server
	return r
}

// look finds out what is in the database, and that the pool can be used and nothing is left open.
func (h *bed) look(ctx context.Context, db *sql.DB, r *result) error {
	if _, err := db.ExecContext(ctx, "SELECT 1"); cmp.Or(r.after, err) != nil {
		return fmt.Errorf("the pool can't be used: %w", cmp.Or(r.after, err))
	}
	if stats := db.Stats(); stats.InUse != 0 || stats.OpenConnections != 1 {
		return fmt.Errorf("a connection is held: %+v", stats)
	}
	if !h.wire.Settle(1) {
		return errors.New("a connection does not end")
	}
	if states := h.wire.Open(); states != "I" {
		return fmt.Errorf("the connection is in state %s", states)
	}
	rows, err := h.admin.Query(ctx, `SELECT k || '=' || v FROM notes
		UNION ALL SELECT 'counter=' || v FROM counters WHERE v <> 0
		UNION ALL SELECT 'column=w' FROM pg_attribute WHERE attrelid = 'notes'::REGCLASS AND attname = 'w'
		UNION ALL SELECT 'left open: ' || pid FROM pg_stat_get_activity(NULL), pg_database d
			WHERE d.oid = datid AND datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
				AND xact_start IS NOT NULL AND state <> 'idle'`) // an idle session has a transaction of its own in which it catches up on others' DDL
	if err != nil {
		return err
	}
	r.contents, err = pgx.CollectRows(rows, pgx.RowTo[string])
	slices.Sort(r.contents)
	return err
}

// An ending is how a case has ended. Everything else is a mistake.
type ending int

const (
	doneOnce       ending = iota // once, with the effects and answers of a run without faults
	nothingDone                  // by an error with a name, and without any effect
	ambiguousWhole               // called ambiguous, and all of it is there
	ambiguousPart                // the same, and a part is, of a text that commits in the middle
	ambiguousNone                // the same, and nothing is
	endings
)

// judge returns the ending of r, or says what is wrong; clean is a run without faults. "Whole" is what a run without
// faults writes. For an application that goes on after an error it is all that it was told of as done, and not rolled
// back since.
func (s *variant) judge(r, clean *result) (ending, error) {
	whole := clean.believed
	if s.sloppy {
		whole = r.believed
	}
	switch {
	case s.dialect.isMarked():
		return s.judgeMarked(r, clean, whole)
	case r.err == nil:
		return judgeDone(r, whole, clean.shown)
	case isAmbiguous(r.err), s.perhaps != nil && s.perhaps(r.err):
		return s.judgeAmbiguous(r, whole)
	}
	return s.judgeRefused(r)
}

// judgeRefused is for an error that says that nothing was committed.
func (s *variant) judgeRefused(r *result) (ending, error) {
	switch {
	case !isNamed(r.err):
		return r.wrong("an error without a name, %T", r.err)
	case !slices.Equal(r.contents, seeded.lines()):
		return r.wrong("told of an error, yet there is an effect")
	}
	return nothingDone, nil
}

func judgeDone(r *result, whole, shown []string) (ending, error) {
	if !slices.Equal(r.contents, whole) {
		return r.wrong("told that it is committed, but the table should be %q", whole)
	}
	if !r.failed && !slices.Equal(r.shown, shown) {
		return r.wrong("shown something else than without faults, %q", shown)
	}
	return doneOnce, nil
}

func (s *variant) judgeAmbiguous(r *result, whole []string) (ending, error) {
	isThere := func(rows []string) bool { return slices.Equal(r.contents, rows) }
	switch {
	case isThere(seeded.lines()):
		return ambiguousNone, nil
	case isThere(whole):
		return ambiguousWhole, nil
	case slices.ContainsFunc(s.partly, isThere):
		return ambiguousPart, nil
	}
	return r.wrong("ambiguous, but neither all nor nothing")
}

func (r *result) wrong(format string, args ...any) (ending, error) {
	return 0, fmt.Errorf("%s; faults: %s; error: %s; shown: %q; the table: %q",
		fmt.Sprintf(format, args...), strings.Join(r.struck, ", "), fmt.Sprint(r.err), r.shown, r.contents)
}

func isAmbiguous(err error) bool {
	_, ok := errors.AsType[*cockroachdb.AmbiguousCommitError](err)
	return ok || kit.StateOf(err) == "40003"
}

// saysNothingDone reports whether err is one of this package's that say that nothing was committed.
func saysNothingDone(err error) bool {
	_, lost := errors.AsType[*cockroachdb.ConnectionLostError](err)
	_, diverged := errors.AsType[*cockroachdb.DivergenceError](err)
	_, exhausted := errors.AsType[*cockroachdb.RetriesExhaustedError](err)
	_, notReplayable := errors.AsType[*cockroachdb.NotReplayableError](err)
	return lost || diverged || exhausted || notReplayable
}

// isNamed reports whether err says in a word of this package, of the server or of the context what has happened.
func isNamed(err error) bool {
	_, server := errors.AsType[*pgconn.PgError](err)
	return saysNothingDone(err) || server || errors.Is(err, errByRaw) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, pgx.ErrTxCommitRollback)
}

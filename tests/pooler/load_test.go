//go:build unix

package pooler_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// The load: several programs, each with tables of its own, on fewer servers than they have connections. The rows that
// a program has written down as done are compared with those that are there.

const (
	workers   = 4   // of each program
	perWorker = 1e6 // keys
	accounts  = 3   // of each program: few, for conflicts

	many, few = 24, 12 // operations of each worker in a round
)

func TestLoad_TransactionMode(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{Mode: pgbouncer.Transaction, Servers: 3}, func(t *testing.T, w *testbed) {
		l := newLoad(t, w)
		l.runUntil(t, many, func() bool { return l.lost() > 0 && l.conflicts() > 0 })
		l.check(t)
	}, ofPostgreSQL, ofCockroachDB)
}

// TestLoad_SessionMode gives every connection a server of its own, for as long as it is open.
func TestLoad_SessionMode(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{Mode: pgbouncer.Session, Servers: 50}, func(t *testing.T, w *testbed) {
		l := newLoad(t, w)
		l.runUntil(t, few, func() bool { return l.conflicts() > 0 })
		l.check(t)
	}, ofPostgreSQL, ofCockroachDB)
}

// TestLoad_PgBouncerKnowsStatements is for PgBouncers that keep track of prepared statements.
func TestLoad_PgBouncerKnowsStatements(t *testing.T) {
	t.Parallel()
	behindPgBouncer(t, pgbouncer.Options{Servers: 3, Statements: 100}, func(t *testing.T, w *testbed) {
		l := newLoad(t, w)
		l.runUntil(t, many, func() bool { return l.conflicts() > 0 })
		l.check(t)
	}, ofPostgreSQL, ofCockroachDB)
}

// A load is the programs on a testbed.
type load struct {
	w          *testbed
	clients    []*client
	injected   []*crdbsim.Fault
	pgxProgram *pgxProgram
}

func newLoad(t *testing.T, w *testbed) *load {
	t.Helper()
	l := &load{w: w}
	for i, settings := range [][]string{nil, {"statement_cache_capacity", "2"}, {"retry_lane_wait", "0s"}} {
		l.clients = append(l.clients, newClient(t, w, i+1, settings...))
	}
	l.pgxProgram = newPgxProgram(t, w)
	if w.sim != nil {
		for i, pattern := range []string{"^UPDATE accounts_", "^INSERT INTO ledger_", "^RELEASE"} {
			l.injected = append(l.injected, &crdbsim.Fault{
				SQL: crdbsim.On(pattern, crdbsim.Action{}).Pattern.MatchString, Times: -1, Chance: 0.05,
				Rand:   rand.New(rand.NewPCG(7, uint64(i))),
				Action: crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")},
			})
		}
		w.sim.Inject(l.injected...)
	}
	return l
}

// runUntil has the programs do what they have to do, round by round, until what the test is about has happened.
func (l *load) runUntil(t *testing.T, operations int, happened func() bool) {
	t.Helper()
	for round := range 10 {
		l.run(t, round*operations, (round+1)*operations)
		if t.Failed() || happened() && l.struck() {
			break
		}
	}
	assert.True(t, happened(), "what the test is about")
	assert.True(t, l.struck(), "every kind of injected conflict")
	assert.Positive(t, l.retries())
}

// struck reports whether every injected fault has.
func (l *load) struck() bool {
	return !slices.ContainsFunc(l.injected, func(f *crdbsim.Fault) bool { return f.Hits() == 0 })
}

// run has each worker do its operations from one number to another, while others disturb them.
func (l *load) run(t *testing.T, from, to int) {
	t.Helper()
	var programs, disturbances sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	disturbances.Go(func() { l.deallocate(ctx, t) })
	disturbances.Go(func() { l.retype(ctx, t) })
	for _, a := range l.clients {
		for worker := range workers {
			programs.Go(func() { a.work(t, worker, from, to) })
		}
	}
	for worker := range 2 {
		programs.Go(func() { l.pgxProgram.work(t, worker, from, to) })
	}
	programs.Wait()
	cancel()
	disturbances.Wait()
}

// deallocate takes all statements away from whichever server it gets, again and again.
func (l *load) deallocate(ctx context.Context, t *testing.T) {
	for sleep(ctx, 5*time.Millisecond) {
		_, err := l.pgxProgram.db.ExecContext(context.WithoutCancel(ctx), "DEALLOCATE ALL")
		assert.NoError(t, err)
	}
}

// retype changes the type of the columns named v to and fro.
func (l *load) retype(ctx context.Context, t *testing.T) {
	for i := 0; sleep(ctx, 20*time.Millisecond); i++ {
		table, to := i%len(l.clients)+1, []string{"DOUBLE PRECISION", "BIGINT"}[i/len(l.clients)%2]
		change := fmt.Sprintf("ALTER TABLE notes_%d ALTER COLUMN v TYPE %s", table, to)
		_, err := l.w.admin.ExecContext(context.WithoutCancel(ctx), change)
		if !isConflict(err) {
			assert.NoError(t, err, change)
		}
	}
}

// sleep reports whether the context is still alive after d.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func isConflict(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "40001" || pgErr.Code == "40P01")
}

// check compares what is there with what was reported done.
func (l *load) check(t *testing.T) {
	t.Helper()
	for _, a := range l.clients {
		a.check(t, l.w)
	}
	l.pgxProgram.check(t, l.w)
}

func (l *load) lost() int64 {
	return l.sum(func(a *client) int64 { return a.lost.Load() })
}

func (l *load) conflicts() int64 {
	return l.sum(func(a *client) int64 { return a.conflicts.Load() })
}

func (l *load) retries() int64 {
	return l.sum(func(a *client) int64 { return a.retries.Load() })
}

func (l *load) sum(of func(*client) int64) (n int64) {
	for _, a := range l.clients {
		n += of(a)
	}
	return n
}

// done is what was reported done: the keys of ledger rows, the notes with their values.
type done struct {
	mu     sync.Mutex
	ledger []int64
	notes  map[int64]float64
}

func (d *done) enter(key int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ledger = append(d.ledger, key)
}

// A client is a program with tables of its own: accounts_n, ledger_n, notes_n.
type client struct {
	*program
	n int
	done
	move *moves
	kept *sql.Stmt // move.enter
}

// moves are the statements of a transfer, in the words of one program.
type moves struct{ enter, take, give, read, note, count string }

func movesOf(n int) *moves {
	return &moves{
		enter: fmt.Sprintf("INSERT INTO ledger_%d VALUES ($1, $2, $3, $4)", n),
		take:  fmt.Sprintf("UPDATE accounts_%d SET balance = balance - $1 WHERE id = $2", n),
		give:  fmt.Sprintf("UPDATE accounts_%d SET balance = balance + $1 WHERE id = $2", n),
		read:  fmt.Sprintf("SELECT balance FROM accounts_%d WHERE id = $1", n),
		note:  fmt.Sprintf("INSERT INTO notes_%d VALUES ($1, $2)", n),
		count: fmt.Sprintf("SELECT v FROM notes_%d WHERE k = $1", n),
	}
}

func newClient(t *testing.T, w *testbed, n int, settings ...string) *client {
	t.Helper()
	tables(t, w, n)
	a := &client{program: w.program(t, workers, settings...), n: n, move: movesOf(n)}
	a.notes = make(map[int64]float64)
	var err error
	a.kept, err = a.PrepareContext(t.Context(), a.move.enter)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.kept.Close() })
	return a
}

func tables(t *testing.T, w *testbed, n int) {
	t.Helper()
	w.exec(t,
		fmt.Sprintf("CREATE TABLE accounts_%d (id INT PRIMARY KEY, balance BIGINT NOT NULL)", n),
		fmt.Sprintf("INSERT INTO accounts_%d SELECT i, 0 FROM generate_series(0, %d) i", n, accounts-1),
		fmt.Sprintf("CREATE TABLE ledger_%d (k BIGINT PRIMARY KEY, source INT, target INT, amount BIGINT)", n),
		fmt.Sprintf("CREATE TABLE notes_%d (k BIGINT PRIMARY KEY, v BIGINT)", n))
}

func (a *client) work(t *testing.T, worker, from, to int) {
	rnd := rand.New(rand.NewPCG(uint64(a.n), uint64(worker)))
	for i := from; i < to; i++ {
		key := int64(worker)*perWorker + int64(i)
		var err error
		switch i % 6 {
		case 0, 3:
			err = a.transfer(t.Context(), rnd, key)
		case 1:
			err = a.readAndTransfer(t.Context(), rnd, key)
		case 2:
			err = a.single(t.Context(), key)
		case 4:
			err = a.note(t.Context(), key)
		case 5:
			err = a.ask(t.Context(), rnd, key)
		}
		assert.NoError(t, err, "program %d, worker %d, operation %d", a.n, worker, i)
	}
}

// transfer writes without reading: a conflict never shows.
func (a *client) transfer(ctx context.Context, rnd *rand.Rand, key int64) error {
	source, target, amount := rnd.IntN(accounts), rnd.IntN(accounts), rnd.IntN(1000)
	tx, err := a.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := a.write(ctx, tx, key, source, target, amount); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	a.enter(key)
	return nil
}

func (a *client) write(ctx context.Context, tx *sql.Tx, key int64, source, target, amount int) error {
	if err := one(tx.StmtContext(ctx, a.kept).ExecContext(ctx, key, source, target, amount)); err != nil {
		return fmt.Errorf("enter: %w", err)
	}
	if err := one(tx.ExecContext(ctx, a.move.take, amount, source)); err != nil {
		return fmt.Errorf("take: %w", err)
	}
	if err := one(tx.ExecContext(ctx, a.move.give, amount, target)); err != nil {
		return fmt.Errorf("give: %w", err)
	}
	return nil
}

// one is an error unless one row was affected.
func one(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); n != 1 || err != nil {
		return fmt.Errorf("%d rows affected, %w", n, err)
	}
	return nil
}

// readAndTransfer writes what it has read: RunTx calls it again where a replay would show something else.
func (a *client) readAndTransfer(ctx context.Context, rnd *rand.Rand, key int64) error {
	source, target, amount := rnd.IntN(accounts), rnd.IntN(accounts), rnd.IntN(1000)
	err := cockroachdb.RunTx(ctx, a.DB, nil, func(tx *sql.Tx) error {
		var balance int64
		if err := tx.QueryRowContext(ctx, a.move.read, source).Scan(&balance); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		return a.write(ctx, tx, key, source, target, amount)
	})
	if err == nil {
		a.enter(key)
	}
	return err
}

// single is a statement outside a transaction.
func (a *client) single(ctx context.Context, key int64) error {
	if err := one(a.ExecContext(ctx, a.move.enter, key, 0, 0, 0)); err != nil {
		return err
	}
	a.enter(key)
	return nil
}

// note writes to a column that changes its type meanwhile, and reads it again.
func (a *client) note(ctx context.Context, key int64) error {
	value := float64(key + 1)
	if err := one(a.ExecContext(ctx, a.move.note, key, value)); err != nil {
		return fmt.Errorf("note: %w", err)
	}
	a.mu.Lock()
	a.notes[key] = value
	a.mu.Unlock()
	var is float64
	err := sql.ErrNoRows
	// PostgreSQL finds no rows where the snapshot is from before a change of type, and the lock from after it.
	for tries := 0; errors.Is(err, sql.ErrNoRows) && tries < 100; tries++ {
		err = a.QueryRowContext(ctx, a.move.count, key).Scan(&is)
	}
	if err != nil {
		return fmt.Errorf("read the note: %w", err)
	}
	if is != value {
		return fmt.Errorf("the note is %v and not %v", is, value)
	}
	return nil
}

// ask reads by a statement that it prepares, keeps for two questions and closes, with one of many texts.
func (a *client) ask(ctx context.Context, rnd *rand.Rand, key int64) error {
	base := a.n*1000 + rnd.IntN(10)
	question, err := a.PrepareContext(ctx, fmt.Sprintf("SELECT %d + $1::BIGINT", base))
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer question.Close()
	for i := range 2 {
		var is int64
		if err := question.QueryRowContext(ctx, key).Scan(&is); err != nil {
			return fmt.Errorf("question %d: %w", i, err)
		}
		if is != int64(base)+key {
			return fmt.Errorf("%d + %d is not %d", base, key, is)
		}
	}
	return nil
}

func (a *client) check(t *testing.T, w *testbed) {
	t.Helper()
	checkLedger(t, w, a.n, a.ledger)
	notes := make(map[int64]float64)
	rows, err := w.admin.QueryContext(t.Context(), fmt.Sprintf("SELECT k, v FROM notes_%d", a.n))
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var k int64
		var v float64
		require.NoError(t, rows.Scan(&k, &v))
		notes[k] = v
	}
	require.NoError(t, rows.Err())
	assert.Equal(t, a.notes, notes)
	t.Logf("program %d: %d entries, %d notes; 26000 came %d times, 40001 %d times; %d new attempts",
		a.n, len(a.ledger), len(notes), a.lost.Load(), a.conflicts.Load(), a.retries.Load())
}

// checkLedger compares the keys of a ledger with those reported, and the balances with what the ledger says.
func checkLedger(t *testing.T, w *testbed, n int, reported []int64) {
	t.Helper()
	query := fmt.Sprintf("SELECT k, source, target, amount FROM ledger_%d ORDER BY k", n)
	rows, err := w.admin.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	var keys []int64
	var balances [accounts]float64
	for rows.Next() {
		var key, source, target, amount int64
		require.NoError(t, rows.Scan(&key, &source, &target, &amount))
		keys = append(keys, key)
		balances[source] -= float64(amount)
		balances[target] += float64(amount)
	}
	require.NoError(t, rows.Err())
	slices.Sort(reported)
	assert.Equal(t, reported, keys, "ledger %d has what was reported done, once each, and nothing else", n)
	for id, balance := range balances {
		is := w.number(t, fmt.Sprintf("SELECT balance FROM accounts_%d WHERE id = $1", n), id)
		assert.InDelta(t, balance, is, 0, "account %d of program %d", id, n)
	}
}

// A pgxProgram is a program on pgx's stdlib in the mode that works behind any pooler, with a loop of its own around
// conflicts.
type pgxProgram struct {
	db *sql.DB
	done
	move *moves
}

const pgxProgramNumber = 9

func newPgxProgram(t *testing.T, w *testbed) *pgxProgram {
	t.Helper()
	tables(t, w, pgxProgramNumber)
	return &pgxProgram{db: w.pgxProgram(t), move: movesOf(pgxProgramNumber)}
}

func (o *pgxProgram) work(t *testing.T, worker, from, to int) {
	rnd := rand.New(rand.NewPCG(pgxProgramNumber, uint64(worker)))
	for i := from; i < to; i++ {
		key := int64(worker)*perWorker + int64(i)
		source, target, amount := rnd.IntN(accounts), rnd.IntN(accounts), rnd.IntN(1000)
		err := o.transfer(t.Context(), key, source, target, amount)
		for isConflict(err) {
			err = o.transfer(t.Context(), key, source, target, amount)
		}
		if assert.NoError(t, err) {
			o.enter(key)
		}
	}
}

func (o *pgxProgram) transfer(ctx context.Context, key int64, source, target, amount int) error {
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, o.move.enter, key, source, target, amount); err != nil {
		return err
	}
	if err := one(tx.ExecContext(ctx, o.move.take, amount, source)); err != nil {
		return err
	}
	if err := one(tx.ExecContext(ctx, o.move.give, amount, target)); err != nil {
		return err
	}
	return tx.Commit()
}

func (o *pgxProgram) check(t *testing.T, w *testbed) {
	t.Helper()
	checkLedger(t, w, pgxProgramNumber, o.ledger)
}

package faultmatrix_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A transaction is a row of the fault matrix.
type transaction struct {
	name string
	run  func(*runner) error
	long bool // it has more boundaries than each fault can be put at each of them every time

	// careful is for transactions that make no sense for an application which goes on after an error.
	careful bool
	// What the application has sent may have committed, all or a part of it, though the answer was this
	// error; docs/semantics.md says so. Then it is as good as called ambiguous.
	perhaps func(error) bool

	// partly lists what is there if only a part was committed, which only a text can do that commits in the middle.
	partly [][]string

	thorough   bool // all faults strike everywhere, also after a conflict
	everywhere bool // of newerTransactions: it is run on PostgreSQL, too

	// unmarked is for transactions whose commit has no marker.
	unmarked func(dialect) bool

	// stays is for transactions that can't go on, on another connection: nothing is done then, and they are told so.
	stays func(dialect) bool
}

// matrixTables are what the transactions work on: notes, which they write and which has no key, so that a row written
// twice shows; counters, which show in the same way; things, which stay as they are; and keyed, whose keys the database
// makes.
const matrixTables = `
DROP TABLE IF EXISTS notes, things, keyed, counters;
CREATE TABLE counters (k INT PRIMARY KEY, v INT NOT NULL); INSERT INTO counters VALUES (1, 0);
CREATE TABLE keyed (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), k INT);
CREATE TABLE notes (k INT, v TEXT); INSERT INTO notes VALUES (0, 'zero');
CREATE TABLE things (k INT PRIMARY KEY, v TEXT); INSERT INTO things VALUES (1, 'one'), (2, NULL)`

// notes are what the application believes to be in the table, by key.
type notes map[string]string

var seeded = notes{"0": "zero"}

// lines are what a query for the real contents gives.
func (n notes) lines() []string {
	all := []string{}
	for k, v := range n {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return all
}

// A runner runs a transaction, and keeps what the application was shown and what it believes to have done.
type runner struct {
	db     *sql.DB
	conn   *sql.Conn // of a transaction that uses Raw
	tx     *sql.Tx
	begin  context.Context // of the transaction
	ctx    context.Context // of the statements
	sloppy bool            // it goes on after an error

	// The driver takes no notice of ctx any more, since it commits by begin, or rolls back.
	deaf atomic.Bool

	shown  []string
	failed bool // it was shown an error that it should not have been, and went on
	table  notes
	saved  notes
}

func (p *runner) start() { p.shown, p.failed, p.table, p.saved = nil, false, maps.Clone(seeded), nil }

func (p *runner) show(format string, args ...any) {
	p.shown = append(p.shown, fmt.Sprintf(format, args...))
}

// A step is a part of a transaction.
type step func(*runner) error

// commit runs steps in a transaction and commits it.
func (p *runner) commit(opts *sql.TxOptions, steps ...step) error {
	if err := p.open(opts, steps...); err != nil {
		p.rollback()
		return err
	}
	if p.sloppy { // the commit is under another context
		p.deaf.Store(true)
	}
	return p.tx.Commit()
}

func (p *runner) open(opts *sql.TxOptions, steps ...step) error {
	p.start()
	var err error
	if p.tx, err = p.db.BeginTx(p.begin, opts); err != nil {
		return err
	}
	return p.all(steps...)
}

func (p *runner) rollback() {
	p.deaf.Store(true)
	if p.tx != nil {
		_ = p.tx.Rollback()
	}
}

// all runs steps up to the first error, or, sloppily, all of them.
func (p *runner) all(steps ...step) error {
	for _, do := range steps {
		err := do(p)
		if err != nil && !p.sloppy {
			return err
		}
		p.failed = p.failed || err != nil
	}
	return nil
}

func txOf(steps ...step) func(*runner) error {
	return func(p *runner) error { return p.commit(nil, steps...) }
}

// exec runs a statement, shows how many rows it has affected, and notes its effect if it succeeds.
func execStep(text string, effect func(*runner), args ...any) step {
	return func(p *runner) error {
		res, err := p.tx.ExecContext(p.ctx, text, args...)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		p.show("%d affected", n)
		if effect != nil {
			effect(p)
		}
		return nil
	}
}

func value(k int) string { return fmt.Sprintf("value %d", k) }

// writes is the effect of having written these keys.
func writes(keys ...int) func(*runner) {
	return func(p *runner) {
		for _, k := range keys {
			p.table[fmt.Sprint(k)] = value(k)
		}
	}
}

const insertNote = "INSERT INTO notes VALUES ($1, $2)"

func insert(k int) step { return execStep(insertNote, writes(k), k, value(k)) }

// inserts is a text of several statements.
func inserts(format string, keys ...int) string {
	var args []any
	for _, k := range keys {
		args = append(args, fmt.Sprintf("INSERT INTO notes VALUES (%d, '%s')", k, value(k)))
	}
	return fmt.Sprintf(format, args...)
}

// update changes a row such that having been done twice shows.
func update0(p *runner) error {
	return execStep("UPDATE notes SET v = v || $1 WHERE k = 0", func(p *runner) { p.table["0"] += "+" }, "+")(p)
}

func savepoint(p *runner) error {
	p.saved = maps.Clone(p.table) // though it be answered by an error, the savepoint may be there
	return execStep("SAVEPOINT s", nil)(p)
}

func rollbackTo(p *runner) error {
	return execStep("ROLLBACK TO SAVEPOINT s", func(p *runner) { p.table = maps.Clone(p.saved) })(p)
}

var release = execStep("RELEASE SAVEPOINT s", nil)

// fails runs a statement that the server answers by an error with this code. A careful application looks whether it
// was that one.
func fails(code, text string, args ...any) step {
	return func(p *runner) error {
		_, err := p.tx.ExecContext(p.ctx, text, args...)
		p.show("error %s", kit.StateOf(err))
		switch {
		case err == nil:
			return errors.New("it succeeded")
		case kit.StateOf(err) != code:
			return err
		}
		return nil
	}
}

// survives has a statement fail after a savepoint.
func survives(code, text string, args ...any) step {
	return func(p *runner) error { return p.all(savepoint, fails(code, text, args...), rollbackTo) }
}

// divide divides by zero when it runs; PostgreSQL evaluates what is constant when it is bound.
const divide = "SELECT 1 / (k - $1) FROM things"

const readThings = "SELECT things.k, things.v, count(notes.k) FROM things LEFT JOIN notes ON true GROUP BY things.k, things.v ORDER BY things.k"

// read reads all rows of a query.
func read(text string, args ...any) step {
	return func(p *runner) error {
		rows, err := p.tx.QueryContext(p.ctx, text, args...)
		if err != nil {
			return err
		}
		return p.scan(rows, -1)
	}
}

// scan shows up to n rows, and the end if it gets there, and closes them.
func (p *runner) scan(rows *sql.Rows, n int) error {
	err := p.scanSome(rows, n)
	return errors.Join(err, rows.Close())
}

func (p *runner) scanSome(rows *sql.Rows, n int) error {
	for i := 0; i != n; i++ {
		if !rows.Next() {
			p.show("end")
			return rows.Err()
		}
		var k, count int
		var v sql.NullString
		if err := rows.Scan(&k, &v, &count); err != nil {
			return err
		}
		p.show("row %d %q %t %d", k, v.String, v.Valid, count)
	}
	return nil
}

// streamRows is what doesn't fit into one piece of what the server holds back.
const streamRows = 300

// stream reads the first n of many rows, or all; it leaves them open if they are not to be closed.
func stream(n int, closes bool) step {
	return func(p *runner) error {
		rows, err := p.tx.QueryContext(p.ctx, "SELECT g, repeat('x', 50 + g % 7), count(notes.k) FROM generate_series(1, $1::INT) g LEFT JOIN notes ON true GROUP BY g ORDER BY g", streamRows)
		if err != nil {
			return err
		}
		if closes {
			return p.scan(rows, n)
		}
		return p.scanSome(rows, n)
	}
}

// prepared runs two prepared statements by turns.
func prepared(p *runner) error {
	write, err := p.tx.PrepareContext(p.ctx, insertNote+" RETURNING k, v, k")
	if err != nil {
		return err
	}
	defer write.Close()
	look, err := p.tx.PrepareContext(p.ctx, readThings)
	if err != nil {
		return err
	}
	defer look.Close()
	query := func(st *sql.Stmt, effect func(*runner), args ...any) step {
		return func(p *runner) error {
			rows, err := st.QueryContext(p.ctx, args...)
			if err != nil {
				return err
			}
			if err := p.scan(rows, -1); err != nil {
				return err
			}
			effect(p)
			return nil
		}
	}
	return p.all(
		query(write, writes(1), 1, value(1)), query(look, writes()),
		query(write, writes(2), 2, value(2)), query(look, writes()),
	)
}

const batchSize = 100

func batch() (steps []step) {
	for k := range batchSize {
		steps = append(steps, insert(k+1))
	}
	return steps
}

// addColumn changes the schema, which shows as a row.
var addColumn = execStep(addColumnText, func(p *runner) { p.table["column"] = "w" })

const addColumnText = "ALTER TABLE notes ADD COLUMN w INT"

// addColumnPrepared is addColumn by a statement that is prepared first.
func addColumnPrepared(p *runner) error {
	st, err := p.tx.PrepareContext(p.ctx, addColumnText)
	if err != nil {
		return err
	}
	defer st.Close()
	if _, err := st.ExecContext(p.ctx); err != nil {
		return err
	}
	p.table["column"] = "w"
	return nil
}

// ownCommit is a transaction that ends by the application's own word.
func ownCommit(steps ...step) func(*runner) error {
	return func(p *runner) error {
		defer p.rollback()
		return p.open(nil, steps...)
	}
}

// onConn is a transaction on a connection that the application has taken out of the pool, for Raw.
func onConn(steps ...step) func(*runner) error {
	return func(p *runner) error {
		p.start()
		var err error
		if p.conn, err = p.db.Conn(p.begin); err != nil {
			return err
		}
		defer p.conn.Close()
		if p.tx, err = p.conn.BeginTx(p.begin, nil); err != nil {
			return err
		}
		if err = p.all(steps...); err == nil {
			p.deaf.Store(p.sloppy)
			return p.tx.Commit()
		}
		p.deaf.Store(true)
		if rollbackErr := p.tx.Rollback(); rollbackErr != nil && !errors.Is(rollbackErr, sql.ErrTxDone) {
			return rollbackErr
		}
		return err
	}
}

// errByRaw is pgx's, and not the driver's: it says nothing of the transaction, which is rolled back after it.
var errByRaw = errors.New("by Raw")

// rawInsert is insert by the pgx connection.
func rawInsert(k int) step {
	return func(p *runner) (err error) {
		var tag pgconn.CommandTag
		rawErr := p.conn.Raw(func(c any) error {
			tag, err = c.(cockroachdb.Conn).Conn().Exec(p.ctx, insertNote, pgx.QueryExecModeExec, k, value(k))
			return nil // else database/sql might close the connection
		})
		if err = cmp.Or(rawErr, err); err != nil {
			return fmt.Errorf("%w: %w", errByRaw, err)
		}
		p.show("%d affected by Raw", tag.RowsAffected())
		writes(k)(p)
		return nil
	}
}

func closure(steps ...step) func(*runner) error {
	return func(p *runner) error {
		return cockroachdb.RunTx(p.begin, p.db, nil, func(tx *sql.Tx) error {
			p.tx = tx
			p.start()
			p.deaf.Store(false)
			err := p.all(steps...)
			p.deaf.Store(p.sloppy || err != nil)
			return err
		})
	}
}

// looped is a transaction that the application retries by a savepoint of its own.
func looped(steps ...step) func(*runner) error {
	return func(p *runner) error {
		defer p.rollback()
		if err := p.open(nil, execStep("SAVEPOINT cockroach_restart", nil)); err != nil {
			return err
		}
		for {
			p.start()
			err := p.all(slices.Concat(steps, []step{execStep("RELEASE SAVEPOINT cockroach_restart", nil)})...)
			switch {
			case err == nil:
				return p.tx.Commit()
			case kit.StateOf(err) != "40001":
				return err
			}
			if err := execStep("ROLLBACK TO SAVEPOINT cockroach_restart", nil)(p); err != nil {
				return err
			}
		}
	}
}

// outside is one statement outside of a transaction.
func outside(p *runner) error {
	p.start()
	return p.alone(1, func(args ...any) (sql.Result, error) { return p.db.ExecContext(p.ctx, insertNote, args...) })
}

// alone is insert by a statement outside of a transaction, which exec runs.
func (p *runner) alone(k int, exec func(args ...any) (sql.Result, error)) error {
	res, err := exec(k, value(k))
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	p.show("%d affected", n)
	writes(k)(p)
	return err
}

// givenUp is a transaction that the application rolls back.
func givenUp(p *runner) error {
	err := p.open(nil, insert(1), read(readThings), insert(2))
	p.deaf.Store(true)
	err = errors.Join(err, p.tx.Rollback())
	p.table = maps.Clone(seeded)
	return err
}

var matrixTransactions = []transaction{
	{name: "empty", run: txOf()},
	{name: "single write", run: txOf(insert(1))},
	{name: "read, then write", run: txOf(read(readThings), update0)},
	{name: "several statements", run: txOf(insert(1), update0, read(readThings), insert(2), update0)},
	{
		name: "savepoint, rolled back to",
		run:  txOf(insert(1), savepoint, insert(2), rollbackTo, read(readThings), insert(3)),
	},
	{name: "savepoint, released", run: txOf(insert(1), savepoint, insert(2), release, insert(3))},
	{name: "error survived", run: txOf(insert(1),
		survives("22012", divide, 1), survives("23505", "INSERT INTO things VALUES (1, 'again')"), insert(2))},
	{name: "stream, read whole", run: txOf(insert(1), stream(-1, true), insert(2))},
	{name: "stream, left open", run: txOf(insert(1), stream(3, false))},
	{name: "stream, closed early", run: txOf(insert(1), stream(3, true), insert(2))},
	{name: "prepared, by turns", run: txOf(prepared)},
	{name: "text of several", run: txOf(insert(1), execStep(inserts("%s; %s", 2, 3), writes(2, 3)), insert(4))},
	{name: "batch of 100", run: txOf(batch()...), long: true},
	{name: "read-only", run: func(p *runner) error {
		return p.commit(&sql.TxOptions{ReadOnly: true}, read(readThings), read("SELECT k, v, 0 FROM notes WHERE k < $1", 9))
	}},
	{name: "DDL", run: txOf(insert(1), addColumn, insert(2))},
	{name: "Raw in the middle", run: onConn(insert(1), rawInsert(2), insert(3)), stays: always[dialect]},
	{name: "own COMMIT", run: ownCommit(insert(1), insert(2), execStep("COMMIT", nil)), careful: true},
	{
		name:    "own COMMIT in a text",
		run:     ownCommit(insert(1), execStep(inserts("%s; COMMIT; %s", 2, 3), writes(2, 3))),
		careful: true,
		perhaps: always[error], partly: [][]string{{"0=zero", "1=" + value(1), "2=" + value(2)}},
	},
	{name: "RunTx", run: closure(read(readThings), insert(1), survives("22012", divide, 1), update0)},
	{
		name: "own loop", run: looped(insert(1), read(readThings), insert(2)), careful: true,
		stays: dialect.isPostgreSQL, unmarked: dialect.isPostgreSQL, // whose transactions no savepoint restarts
	},
	{name: "rolled back", run: givenUp, careful: true},
	{name: "outside", run: outside, careful: true, perhaps: leftOpen},
}

// leftOpen is for a statement outside of a transaction, of which the network's error and the server's come as they are.
func leftOpen(err error) bool { return kit.StateOf(err) == "" || kit.StateOf(err) == "57014" }

func always[T any](T) bool { return true }

func (d transaction) isDDL() bool { return strings.Contains(d.name, "DDL") }

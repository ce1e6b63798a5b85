package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
)

// Lists is the workload of transactions that append to lists and read them.
type Lists struct {
	db     *sql.DB
	values atomic.Int64 // the last one that was appended
	steps  atomic.Int64
	txns   notes[*Txn]
}

// Clients look at few lists at a time, so that they meet, and move on to the next, so that lists stay short.
const (
	listsAtATime = 4
	listsMove    = 20 // after so many transactions the first one is left alone, and a new one is in use
)

// NewLists makes lists for so many transactions.
func NewLists(ctx context.Context, db *sql.DB, transactions int) (*Lists, error) {
	return &Lists{db: db}, execAll(ctx, db,
		"CREATE TABLE lists (k INT PRIMARY KEY, v TEXT NOT NULL)",
		fmt.Sprintf("INSERT INTO lists SELECT g, '' FROM generate_series(0, %d) AS g", transactions/listsMove+listsAtATime))
}

// A ListTx is a transaction on lists that writes down what it does.
type ListTx struct {
	ctx    context.Context
	tx     *sql.Tx
	lists  *Lists
	ops    []Op
	undone []Op // appended, and rolled back to a savepoint
}

// Do runs a transaction and writes it down. What body did in a call that was not the last has not happened.
func (l *Lists) Do(ctx context.Context, way Way, body func(*ListTx) error) error {
	var calls []*ListTx
	err := transact(ctx, l.db, way, func(tx *sql.Tx) error {
		calls = append(calls, &ListTx{ctx: ctx, tx: tx, lists: l})
		return body(calls[len(calls)-1])
	})
	for i, t := range calls {
		outcome := Failed
		if i == len(calls)-1 {
			outcome = outcomeOf(err)
		}
		l.txns.add(&Txn{Ops: t.ops, Outcome: outcome}, &Txn{Ops: t.undone, Outcome: Failed})
	}
	return err
}

// Append appends a new value to a list, blindly.
func (t *ListTx) Append(key int) error {
	value := int(t.lists.values.Add(1))
	t.ops = append(t.ops, Op{Key: key, Append: value})
	_, err := t.tx.ExecContext(t.ctx, "UPDATE lists SET v = v || $2 WHERE k = $1", key, strconv.Itoa(value)+",")
	return err
}

// Read reads a list.
func (t *ListTx) Read(key int) error {
	var text string
	err := t.tx.QueryRowContext(t.ctx, "SELECT v FROM lists WHERE k = $1", key).Scan(&text)
	t.saw(key, text)
	return err
}

// ReadRange reads those of several lists that are not empty, and so sees that the others are.
func (t *ListTx) ReadRange(from, to int) error {
	rows, err := t.tx.QueryContext(t.ctx,
		"SELECT k, v FROM lists WHERE k BETWEEN $1 AND $2 AND v <> '' ORDER BY k", from, to)
	seen := map[int]string{}
	_, err = collect(rows, err, func(rows *sql.Rows) (key int, err error) {
		var text string
		err = rows.Scan(&key, &text)
		seen[key] = text
		return key, err
	})
	for key := from; key <= to; key++ {
		t.saw(key, seen[key])
	}
	return err
}

// ReadEmpty learns by an error, which it survives, that a list is empty.
func (t *ListTx) ReadEmpty(key int) error {
	var server *pgconn.PgError
	return t.inSavepoint(func() error {
		_, err := t.tx.ExecContext(t.ctx, "SELECT 1 / length(v) FROM lists WHERE k = $1", key)
		if errors.As(err, &server) && server.Code == divisionByZero {
			t.saw(key, "")
			return nil
		}
		return err
	})
}

const divisionByZero = "22012"

func (t *ListTx) saw(key int, text string) {
	t.ops = append(t.ops, Op{Key: key, Read: values(text)})
}

// values are those of a list as it is stored.
func values(text string) []int {
	var list []int
	for word := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
		if v, err := strconv.Atoi(word); err == nil {
			list = append(list, v)
		}
	}
	return list
}

// Undo runs body in a savepoint and rolls back to it. What body has read it has seen all the same; it must not read
// what it has appended itself.
func (t *ListTx) Undo(body func() error) error {
	before := len(t.ops)
	err := t.inSavepoint(body)
	inside := slices.Clone(t.ops[before:])
	t.ops = t.ops[:before]
	for _, o := range inside {
		if o.isRead() {
			t.ops = append(t.ops, o)
		} else {
			t.undone = append(t.undone, o)
		}
	}
	return err
}

// inSavepoint runs body in a savepoint and rolls back to it.
func (t *ListTx) inSavepoint(body func() error) error {
	if _, err := t.tx.ExecContext(t.ctx, "SAVEPOINT s"); err != nil {
		return err
	}
	if err := body(); err != nil {
		return err
	}
	_, err := t.tx.ExecContext(t.ctx, "ROLLBACK TO SAVEPOINT s")
	return err
}

// Fail runs a statement that fails, and ignores it.
func (t *ListTx) Fail() error {
	_, _ = t.tx.ExecContext(t.ctx, "SELECT 1 / $1::INT", 0)
	return nil
}

// Step runs a random transaction.
func (l *Lists) Step(ctx context.Context, _ int, rnd *rand.Rand) error {
	first := int(l.steps.Add(1)) / listsMove
	key := func() int { return first + rnd.IntN(listsAtATime) }
	blind, abandon := rnd.IntN(3) == 0, rnd.IntN(20) == 0
	n := 1 + rnd.IntN(4)
	return l.Do(ctx, Way(rnd.IntN(2) == 0), func(t *ListTx) error {
		for range n {
			if err := t.step(rnd, blind, key, first); err != nil {
				return err
			}
		}
		if abandon {
			return errAbandoned
		}
		return nil
	})
}

func (t *ListTx) step(rnd *rand.Rand, blind bool, key func() int, first int) error {
	switch i := rnd.IntN(20); {
	case i == 0:
		return t.Fail()
	case i == 1:
		return t.Undo(func() error { return t.Append(key()) })
	case i < 10, blind:
		return t.Append(key())
	case i == 10:
		return t.Undo(func() error { return t.Read(key()) })
	case i == 11:
		return t.ReadEmpty(key())
	case i < 14:
		return t.ReadRange(first, first+listsAtATime-1)
	}
	return t.Read(key())
}

// History is what all transactions did, and what the lists hold.
func (l *Lists) History(ctx context.Context) ([]*Txn, map[int][]int, error) {
	final := map[int][]int{}
	rows, err := l.db.QueryContext(ctx, "SELECT k, v FROM lists ORDER BY k")
	_, err = collect(rows, err, func(rows *sql.Rows) (int, error) {
		var key int
		var text string
		err := rows.Scan(&key, &text)
		final[key] = values(text)
		return key, err
	})
	txns := l.txns.all()
	for i, t := range txns {
		t.ID = i + 1
	}
	return txns, final, err
}

// Check says what is wrong with the history.
func (l *Lists) Check(ctx context.Context) ([]Anomaly, error) {
	txns, final, err := l.History(ctx)
	return CheckLists(txns, final), err
}

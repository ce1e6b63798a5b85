package program

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb"
)

// Reads of one row, most of them by its key, and writes of that row. A pool that learns locks may add FOR UPDATE to
// some of the reads; the others only look much like those.

// A shape is two texts about a row, of which $1 is the key. A statement has its number among shapes.
type shape struct {
	name  string
	read  string // Peek's: it returns the key, the number, and no more than one row
	write string // Raise's: it adds $2
	lock  string // Peek's with the lock that the driver may add; "" for a text to which none may be added
	rows  func(m *model, k int) [][]any
	pair  bool // the row is one of pairs; else of kv
}

const (
	raiseKV   = "UPDATE kv SET i = i + $2::INT8 WHERE k = $1"
	raisePair = `UPDATE "Pair s" SET i = i + $2::INT8 WHERE "A" = $1 AND b = 0 AND c = $1`
	readPair  = `SELECT "A", i FROM "Pair s" WHERE "A" = $1 AND b = 0`
	forUpdate = " FOR UPDATE"
)

// locked is a shape whose text may lock, by FOR UPDATE at its end.
func locked(name, read, write string) shape {
	return shape{name: name, read: read, write: write, lock: read + forUpdate, rows: (*model).rowOfKV}
}

// near is one of kv whose text must stay as it is.
func near(name, read string) shape {
	return shape{name: name, read: read, write: raiseKV, rows: (*model).rowOfKV}
}

// ofPairs is one of pairs.
func ofPairs(name, read, lock string) shape {
	return shape{name: name, read: read, write: raisePair, lock: lock, rows: (*model).rowOfPairs, pair: true}
}

const shareShape = "share"

var shapes = []shape{
	locked("by key", "SELECT k, i FROM kv WHERE k = $1", raiseKV),
	locked("by another name", "SELECT a.k, a.i AS n FROM kv AS a WHERE a.k = $1", raiseKV),
	locked("quoted", `SELECT "k", "i" FROM "public"."kv" WHERE ("k" = $1)`,
		`UPDATE "public"."kv" SET i = i + $2::INT8 WHERE k = $1`),
	locked("limited", "SELECT k, i FROM kv WHERE k = $1 AND k IS NOT NULL ORDER BY kv.i LIMIT 1", raiseKV),
	ofPairs("of a pair", readPair, readPair+forUpdate),
	{
		name: "commented", read: "SELECT k, i FROM kv AS c WHERE k = $1 -- that is all", write: raiseKV,
		lock: "SELECT k, i FROM kv AS c WHERE k = $1 FOR UPDATE -- that is all", rows: (*model).rowOfKV,
	},
	{
		name: "unless it is true", read: "SELECT k, i FROM kv WHERE k = $1 AND o = 'f'",
		write: "UPDATE kv SET i = i + $2::INT8 WHERE k = $1 AND o = 'f'",
		lock:  "SELECT k, i FROM kv WHERE k = $1 AND o = 'f' FOR UPDATE", rows: (*model).rowUnlessTrue,
	},
	ofPairs("by no key", `SELECT "A", i FROM "Pair s" WHERE c = $1`, ""),
	ofPairs("by half a key", `SELECT "A", i FROM "Pair s" WHERE "A" = $1 AND c = $1`, ""),
	{
		name: "of a view", read: "SELECT k, i FROM seen WHERE k = $1", rows: (*model).rowOfKV,
		write: "UPDATE seen SET i = i + $2::INT8 WHERE k = $1",
	},
	near(shareShape, "SELECT k, i FROM kv WHERE k = $1 FOR SHARE"),
	near("distinct", "SELECT DISTINCT k, i FROM kv WHERE k = $1"),
	near("skipped", "SELECT k, i FROM kv WHERE k = $1 LIMIT 1 OFFSET 0"),
	near("ordered by an expression", "SELECT k, i FROM kv WHERE k = $1 ORDER BY i + 0"),
	near("an expression", "SELECT k, i + 0 AS i FROM kv WHERE k = $1"),
	near("by an expression", "SELECT k, i FROM kv WHERE k = $1 + 0"),
	near("in a list", "SELECT k, i FROM kv WHERE k IN ($1)"),
	near("joined", "SELECT a.k, b.i FROM kv a JOIN kv b ON b.k = a.k WHERE a.k = $1"),
	near("grouped", "SELECT k, max(i) FROM kv WHERE k = $1 GROUP BY k"),
	near("united", "SELECT k, i FROM kv WHERE k = $1 UNION ALL SELECT k, i FROM kv WHERE k = $1 AND k < 0"),
}

// createPairs makes a table with a key of two columns, and a view.
var createPairs = []string{
	`CREATE TABLE "Pair s" ("A" INT8, b INT8, c INT8, i INT8, PRIMARY KEY ("A", b))`,
	"CREATE VIEW seen AS SELECT k, i FROM kv",
}

var lockSpecs = map[Kind]spec{
	Peek: {
		name: "peek", about: aboutShape, reads: true, columns: func(s *Statement) []string { return s.shape().columns() },
		sql:   func(s *Statement, _ value) (string, []any) { return s.shape().read, []any{s.Lo} },
		query: func(m *model, s *Statement, _ any) ([][]any, error) { return s.shape().rows(m, s.Lo), nil },
	},
	Raise: {
		name: "raise", exec: (*model).raise,
		about: func(s *Statement) string { return fmt.Sprintf("%s %+d", aboutShape(s), s.Delta) },
		sql:   func(s *Statement, _ value) (string, []any) { return s.shape().write, []any{s.Lo, s.Delta} },
	},
}

func (s *Statement) shape() *shape { return &shapes[s.Shape] }

func aboutShape(s *Statement) string { return fmt.Sprintf("%d %s", s.Lo, s.shape().name) }

// columns are what the server calls the two.
func (s *shape) columns() []string {
	switch s.name {
	case "by another name":
		return []string{"k", "n"}
	case "grouped":
		return []string{"k", "max"}
	}
	if s.pair {
		return []string{"A", "i"}
	}
	return []string{"k", "i"}
}

func (m *model) rowOfKV(k int) (rows [][]any) {
	if r, found := m.kv[k]; found {
		rows = append(rows, []any{int64(k), r[Number]})
	}
	return rows
}

func (m *model) rowUnlessTrue(k int) [][]any {
	if m.kv[k][Bool] != false {
		return nil
	}
	return m.rowOfKV(k)
}

func (m *model) rowOfPairs(k int) (rows [][]any) {
	if n, found := m.pairs[k]; found {
		rows = append(rows, []any{int64(k), n})
	}
	return rows
}

func (m *model) raise(s *Statement, _ any) (int64, error) {
	switch {
	case s.shape().pair && len(m.rowOfPairs(s.Lo)) > 0:
		m.pairs[s.Lo] += s.Delta
		return 1, nil
	case s.shape().pair:
		return 0, nil
	case strings.Contains(s.shape().write, " o = ") && m.rowUnlessTrue(s.Lo) == nil:
		return 0, nil
	}
	m.add(s.Lo, s.Delta)
	return int64(len(m.rowOfKV(s.Lo))), nil
}

// mostShapes are what the programs of a round have of those that may lock, and of others.
const mostShapes = 2

// chooseShapes chooses what a round is about. So few of them, and one row that most programs read, diverge often.
func (t *theme) chooseShapes(g *generator) {
	var some, others []int
	for i := range shapes {
		if shapes[i].lock != "" {
			some = append(some, i)
		} else {
			others = append(others, i)
		}
	}
	for range mostShapes {
		t.shapes = append(t.shapes, some[g.IntN(len(some))], others[g.IntN(len(others))])
	}
	t.hot = 1
}

// shape chooses how a row is read or written: a write is mostly of the row that was read last, as it was.
func (g *generator) shape(s *Statement) {
	switch {
	case s.Kind == Raise && g.peeked != nil && !g.oneIn(4):
		s.Lo, s.Shape = g.peeked.Lo, g.peeked.Shape
	case g.oneIn(3):
		s.Shape = g.shapes[1+2*g.IntN(mostShapes)]
	default:
		s.Shape = g.shapes[2*g.IntN(mostShapes)]
	}
	if s.Kind == Peek {
		g.peeked = s
	}
}

// shapes are those of a round's statements, by their numbers.
func (r *Round) shapes() map[int]bool {
	all := make(map[int]bool)
	r.each(func(s *Statement) {
		if s.Kind == Peek {
			all[s.Shape] = true
		}
	})
	return all
}

// learnsLocks reports whether the round's pool learns locks. It is a new one, which knows of none yet.
func (r *Round) learnsLocks() bool { return r.has(Peek) }

// openLearning opens the round's pool.
func (g *Group) openLearning(way way, w *lockWatch) (*sql.DB, error) {
	return g.openPool(way, func(cfg *cockroachdb.Config) {
		cfg.LearnLocks, cfg.OnLockChanged = cockroachdb.LearnLocksAlways, w.changed
		if g.server.isPostgreSQL() { // it may read what is committed meanwhile, unless the DSN says otherwise
			cfg.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
		}
	})
}

// The driver learns a text that has diverged so often, in so many transactions.
const (
	teachDivergences = 4
	teachRuns        = 16
)

// teach has a pool learn the texts of a round, as far as it will; or almost, so that the programs complete it.
func (g *Group) teach(ctx context.Context, db *sql.DB, r *Round) error {
	divergences, runs := teachDivergences, teachRuns
	if !r.Taught {
		divergences, runs = teachDivergences-1, teachRuns-1
	}
	for i := range r.shapes() {
		if shapes[i].name == shareShape { // nobody else can write the row
			continue
		}
		for n := range runs {
			err := g.teachOnce(ctx, db, &shapes[i], n < divergences)
			_, diverged := errors.AsType[*cockroachdb.DivergenceError](err)
			if err != nil && !diverged || diverged != (n < divergences) {
				return fmt.Errorf("teach the text %s, the %dth time: %w", shapes[i].read, n+1, err)
			}
		}
	}
	return nil
}

// teachOnce reads a row and writes it, and has somebody else write it between the two if it is to diverge.
func (g *Group) teachOnce(ctx context.Context, db *sql.DB, s *shape, diverge bool) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var k int
	var n sql.NullInt64
	const key = 0
	if err := tx.QueryRowContext(ctx, s.read, key).Scan(&k, &n); err != nil {
		return err
	}
	if diverge {
		if _, err := g.trusted.ExecContext(ctx, s.write, pgx.QueryExecModeDescribeExec, key, 1); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, s.write, key, 1); err != nil {
		return err
	}
	return tx.Commit()
}

package replay_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// Each cause of a divergence in docs/tuning.md, with its remedies. A transaction runs statements, loses a conflict to a
// rival that does something besides, and commits: of a cause, that is a DivergenceError whose message leads to the
// section on it; of a remedy, it is committed, and the application does not notice the conflict.

// A scenario is what a transaction and its rival do.
type scenario struct {
	do    func(t *testing.T, tx *sql.Tx)               // what it runs before the conflict
	then  func(t *testing.T, a *adviceRig, tx *sql.Tx) // and after it
	rival []string                                     // what the rival does meanwhile
}

// An adviceRig is a database with an empty table of orders, whose pool's events are kept.
type adviceRig struct {
	kit.KV
	ended []cockroachdb.OutcomeEvent
}

func newAdviceRig(t *testing.T, options ...any) *adviceRig {
	t.Helper()
	w := &adviceRig{}
	w.KV = kit.NewKV(t, append(options, func(cfg *cockroachdb.Config) {
		cfg.OnSettled = func(_ context.Context, e cockroachdb.OutcomeEvent) { w.ended = append(w.ended, e) }
	})...)
	kit.Exec(t, w.Rival, "CREATE TABLE orders (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), what TEXT NOT NULL, at TIMESTAMPTZ)")
	w.SetMaxOpenConns(0)
	return w
}

// run runs the transaction, which loses its conflict after what p does: it has read the key of a row, and writes that
// row, which the rival has written meanwhile.
func (w *adviceRig) run(t *testing.T, p scenario) error {
	t.Helper()
	tx := w.Begin(t)
	require.NoError(t, tx.QueryRow("SELECT k FROM kv WHERE k = 100").Scan(new(int)))
	if p.do != nil {
		p.do(t, tx)
	}
	for _, text := range append(p.rival, "UPDATE kv SET v = v + 1 WHERE k = 100") {
		kit.Exec(t, w.Rival, text)
	}
	_, err := tx.Exec("UPDATE kv SET v = v + 100 WHERE k = 100")
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if p.then != nil {
		p.then(t, w, tx)
	}
	return tx.Commit()
}

// reading makes a scenario of one query, whose rows are read to their end.
func reading(text string, rival ...string) scenario {
	return scenario{rival: rival, do: func(t *testing.T, tx *sql.Tx) { _ = kit.Query(t, tx, text).MustRest() }}
}

// running makes a scenario of statements of which nothing is asked.
func running(texts ...string) scenario {
	return scenario{do: func(t *testing.T, tx *sql.Tx) { require.NoError(t, kit.ExecAll(tx, texts...)) }}
}

type divergence struct {
	scenario
	kind     cockroachdb.DivergenceKind
	says     string // of the message
	section  string
	remedies map[string]scenario
}

func divergences() map[string]divergence {
	const changesRow1 = "UPDATE kv SET v = 11 WHERE k = 1"
	const orderID = "3e7bb0a5-6d0b-4c19-9d0b-0c4bb0f2a0c1"
	countOf := func(t *testing.T, tx *sql.Tx) {
		assert.Equal(t, 2, kit.Affected(t, tx, "UPDATE kv SET v = v + 1 WHERE v BETWEEN 10 AND 25"))
	}
	var counted sql.Result
	alreadyThere := func(t *testing.T, tx *sql.Tx) {
		require.NoError(t, kit.ExecAll(tx, "SAVEPOINT s"))
		kit.WantCode(t, kit.ExecAll(tx, "INSERT INTO kv VALUES (1, 1)"), "23505")
		require.NoError(t, kit.ExecAll(tx, "ROLLBACK TO SAVEPOINT s"))
	}
	return map[string]divergence{
		"a row changed": {
			scenario: reading("SELECT v FROM kv WHERE k = 1", changesRow1),
			kind:     cockroachdb.DivergedRow, says: "row 1, already read, changed; ", section: "a-row-changed",
			remedies: map[string]scenario{
				"don't read": {
					do: func(t *testing.T, tx *sql.Tx) {
						require.NoError(t, kit.ExecAll(tx, "UPDATE kv SET v = v + 1 WHERE k = 2 AND v >= 20"))
					},
					then: func(t *testing.T, w *adviceRig, _ *sql.Tx) { assert.Equal(t, 20, w.Value(t, 2)) },
				},
				// That the rival can't change the row, see TestAdvice_ForUpdate_PreventsTheDivergence.
				"read FOR UPDATE": reading("SELECT v FROM kv WHERE k = 1 FOR UPDATE"),
				"move the read after the conflict": {
					rival: []string{changesRow1},
					then: func(t *testing.T, _ *adviceRig, tx *sql.Tx) {
						assert.Equal(t, []string{"11"}, kit.Query(t, tx, "SELECT v FROM kv WHERE k = 1").MustRest())
					},
				},
				"read less": reading("SELECT k FROM kv WHERE k = 1", changesRow1),
			},
		},
		"there was no row, and there is": {
			scenario: reading("SELECT v FROM kv WHERE k = 4", "INSERT INTO kv VALUES (4, 40)"),
			kind:     cockroachdb.DivergedEndOfRows, says: "moved (at row 1)", section: "a-row-changed",
		},
		"a generated key": {
			scenario: scenario{do: func(t *testing.T, tx *sql.Tx) {
				require.NoError(t, tx.QueryRow("INSERT INTO orders (what) VALUES ('tea') RETURNING id::TEXT").Scan(new(string)))
			}},
			kind: cockroachdb.DivergedRow, says: "perhaps a key that the database made", section: "generated-keys",
			remedies: map[string]scenario{
				"made by the client": {
					do: func(t *testing.T, tx *sql.Tx) {
						var id string
						row := tx.QueryRow("INSERT INTO orders (id, what) VALUES ($1, 'tea') RETURNING id", orderID)
						require.NoError(t, row.Scan(&id))
						assert.Equal(t, orderID, id)
					},
				},
				"asked for as it is": reading("INSERT INTO orders (what) VALUES ('tea') RETURNING id"),
				"not asked for": running(
					"INSERT INTO orders (what) VALUES ('tea')", "UPDATE orders SET what = 'green tea' WHERE what = 'tea'",
				),
			},
		},
		"an order that others change": {
			scenario: reading("SELECT k FROM kv WHERE k < 100 ORDER BY v", "UPDATE kv SET v = -v WHERE k < 100"),
			kind:     cockroachdb.DivergedRow, says: "row 1, already read, changed; ", section: "a-row-changed",
			remedies: map[string]scenario{
				"ordered by the key": reading("SELECT k FROM kv WHERE k < 100 ORDER BY k", "UPDATE kv SET v = -v WHERE k < 100"),
			},
		},
		"a clock": {
			scenario: reading("SELECT clock_timestamp()"),
			kind:     cockroachdb.DivergedRow,
			says:     "perhaps by a clock or a random function",
			section:  "clocks-and-random-numbers",
			remedies: map[string]scenario{
				"computed by the client": {do: func(t *testing.T, tx *sql.Tx) {
					require.NoError(t, tx.QueryRow("SELECT $1::TIMESTAMPTZ", time.Now()).Scan(new(time.Time)))
				}},
				"not read": running("INSERT INTO orders (what, at) VALUES ('tea', clock_timestamp())"),
			},
		},
		"a random number": {
			scenario: reading("SELECT random()"),
			kind:     cockroachdb.DivergedRow,
			says:     "perhaps by a clock or a random function",
			section:  "clocks-and-random-numbers",
		},
		"a count asked for": {
			scenario: scenario{do: countOf, rival: []string{"UPDATE kv SET v = 25 WHERE k = 3"}},
			kind:     cockroachdb.DivergedCount, says: "don't ask for RowsAffected", section: "a-count-asked-for",
			remedies: map[string]scenario{
				"not asked for": {
					do:    running("UPDATE kv SET v = v + 1 WHERE v BETWEEN 10 AND 25").do,
					rival: []string{"UPDATE kv SET v = 25 WHERE k = 3"},
				},
				"asked for after the conflict": {
					do: func(t *testing.T, tx *sql.Tx) {
						var err error
						counted, err = tx.Exec("UPDATE kv SET v = v + 1 WHERE v BETWEEN 10 AND 25")
						require.NoError(t, err)
					},
					rival: []string{"UPDATE kv SET v = 25 WHERE k = 3"},
					then: func(t *testing.T, _ *adviceRig, tx *sql.Tx) {
						n, err := counted.RowsAffected()
						require.NoError(t, err)
						assert.EqualValues(t, 3, n)
					},
				},
			},
		},
		"success and failure": {
			scenario: scenario{do: alreadyThere, rival: []string{"DELETE FROM kv WHERE k = 1"}},
			kind:     cockroachdb.DivergedSQLState,
			says:     "with success where it had answered SQLSTATE 23505",
			section:  "success-and-failure",
			remedies: map[string]scenario{
				"ON CONFLICT": {
					do:    running("INSERT INTO kv VALUES (1, 1) ON CONFLICT (k) DO NOTHING").do,
					rival: []string{"DELETE FROM kv WHERE k = 1"},
				},
			},
		},
	}
}

func TestAdvice_OnData_NamesTheLikelyCause(t *testing.T) {
	t.Parallel()
	for name, d := range divergences() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newAdviceRig(t)
			requireLedTo(t, w.run(t, d.scenario), d.kind, d.says, d.section)
			assert.Equal(t, 1, w.Value(t, 100), "nothing of it was committed")
			require.Len(t, w.ended, 1)
			assert.Equal(t, cockroachdb.OutcomeDiverged, w.ended[0].Outcome)
		})
		for remedy, p := range d.remedies {
			t.Run(name+", "+remedy, func(t *testing.T) {
				t.Parallel()
				w := newAdviceRig(t)
				require.NoError(t, w.run(t, p))
				assert.Equal(t, 101, w.Value(t, 100))
				require.Len(t, w.ended, 1, "it must have lost")
				assert.Equal(t, cockroachdb.OutcomeCommitted, w.ended[0].Outcome)
			})
		}
		t.Run(name+", RunTx", func(t *testing.T) {
			t.Parallel()
			w, calls := newAdviceRig(t), 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), w.DB, nil, func(tx *sql.Tx) error {
				calls++
				if err := tx.QueryRow("SELECT k FROM kv WHERE k = 100").Scan(new(int)); err != nil {
					return err
				}
				if calls == 1 {
					d.do(t, tx)
					for _, text := range append(d.rival, "UPDATE kv SET v = v + 1 WHERE k = 100") {
						kit.Exec(t, w.Rival, text)
					}
				}
				_, err := tx.Exec("UPDATE kv SET v = v + 100 WHERE k = 100")
				return err
			}))
			assert.Equal(t, 2, calls)
			assert.Equal(t, 101, w.Value(t, 100))
		})
	}
}

// requireLedTo checks that a divergence names the statement after the first, why, and the section.
func requireLedTo(t testing.TB, err error, kind cockroachdb.DivergenceKind, says, section string) {
	t.Helper()
	d := kit.As[*cockroachdb.DivergenceError](t, err)
	assert.Equal(t, kind, d.Kind, err)
	assert.Contains(t, d.Error(), says)
	assert.True(t, strings.HasSuffix(d.Error(), "/docs/tuning.md#"+section), d.Error())
}

// Rows without ORDER BY come as they lie, and PostgreSQL puts a row that was updated elsewhere.
func TestAdvice_RowsWithoutOrder(t *testing.T) {
	t.Parallel()
	if enginetest.Get(t).IsCockroach() {
		t.Skip("CockroachDB reads a small table by its key, whatever was updated: there is no second order to be had")
	}
	const moves = "UPDATE kv SET v = v WHERE k = 1"
	w := newAdviceRig(t)
	requireLedTo(t, w.run(t, reading("SELECT k FROM kv", moves)), cockroachdb.DivergedRow, "or came in another order",
		"the-order-of-rows")

	w = newAdviceRig(t)
	require.NoError(t, w.run(t, reading("SELECT k FROM kv ORDER BY k", moves)))
	require.Len(t, w.ended, 1)
}

// What FOR UPDATE is for: the rival can't change the row that was read, so that there is no conflict about it. That
// CockroachDB keeps the lock over ROLLBACK TO, the stand-in can't play; but a replay takes it anew, and the rival is
// kept out again.
func TestAdvice_ForUpdate_PreventsTheDivergence(t *testing.T) {
	t.Parallel()
	keptOut := func(t *testing.T, w *adviceRig) {
		t.Helper()
		_, err := w.Rival.Exec("SELECT v FROM kv WHERE k = 1 FOR UPDATE NOWAIT")
		assert.Equal(t, "55P03", kit.StateOf(err), "%v", err)
	}
	w := newAdviceRig(t)
	tx := w.Begin(t)
	var v int
	require.NoError(t, tx.QueryRow("SELECT v FROM kv WHERE k = 1 FOR UPDATE").Scan(&v))
	keptOut(t, w)
	kit.Exec(t, tx, "UPDATE kv SET v = $1 WHERE k = 1", v*2)
	require.NoError(t, tx.Commit())
	assert.Equal(t, 20, w.Value(t, 1))
	assert.Empty(t, w.ended, "there was no conflict")

	w = newAdviceRig(t)
	p := reading("SELECT v FROM kv WHERE k = 1 FOR UPDATE")
	p.then = func(t *testing.T, w *adviceRig, _ *sql.Tx) { keptOut(t, w) }
	require.NoError(t, w.run(t, p))
	require.Len(t, w.ended, 1)
}

// A table is altered while the transaction waits, without locks, for its turn: the lane is another's, and is not
// waited for.
func TestAdvice_Columns(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, text string) error {
		var w *adviceRig
		w = newAdviceRig(t, "retry_lane_wait=0s", func(cfg *cockroachdb.Config) {
			cfg.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) {
				if e.Statement == 3 {
					kit.Exec(t, w.Rival, "ALTER TABLE orders ADD COLUMN more INT")
				}
			}
		})
		kit.Exec(t, w.Rival, "INSERT INTO kv VALUES (200, 0)")
		holder := w.Begin(t)
		require.NoError(t, holder.QueryRow("SELECT k FROM kv WHERE k = 200").Scan(new(int)))
		kit.Exec(t, w.Rival, "UPDATE kv SET v = 1 WHERE k = 200")
		kit.Exec(t, holder, "UPDATE kv SET v = 2 WHERE k = 200")
		defer func() { require.NoError(t, holder.Commit()) }()

		kit.Exec(t, w.Rival, "INSERT INTO orders (what) VALUES ('tea')")
		return w.run(t, scenario{do: func(t *testing.T, tx *sql.Tx) {
			rows := kit.Query(t, tx, text)
			require.True(t, rows.Next())
			require.NoError(t, rows.Close())
		}})
	}
	requireLedTo(t, run(t, "SELECT * FROM orders"), cockroachdb.DivergedColumns, "name the columns", "the-columns-changed")
	require.NoError(t, run(t, "SELECT id, what FROM orders"))
}

package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// Case 45: MaxOpenConns(1) and goleak after every failure. It is not parallel, since it looks at the goroutines of the process.
func TestPeerCase45AfterEveryFailure(t *testing.T) {
	const read, last = "SELECT v FROM kv", "UPDATE kv SET last = $1"
	run := func(ctx context.Context, tx *sql.Tx) error {
		var v int64
		if err := tx.QueryRowContext(ctx, read).Scan(&v); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, last, secretValue); err != nil {
			return err
		}
		return tx.Commit()
	}
	always := func(r fakepg.Reply) func(int) fakepg.Reply { return inTurn(r) }
	failing := func(code string) func(int) fakepg.Reply {
		return once(fakepg.Reply{Err: fakepg.Error(code, "no")})
	}
	var cancelNow func()
	for name, tc := range map[string]struct {
		plays  plays
		opts   []fakepg.Option
		policy func(*cockroachdb.RetryPolicy)
		cancel bool // the context at the reply that has Nth 2 of last
		is     func(error) bool
	}{
		"divergence": {plays: plays{read: number(1, 2), sqlFree: loses(1)}, is: isErr[*cockroachdb.DivergenceError]},
		"divergence on PostgreSQL": {
			plays: plays{read: number(1, 2), "COMMIT": loses(1)}, opts: []fakepg.Option{fakepg.PlainPostgreSQL()},
			is: isErr[*cockroachdb.DivergenceError],
		},
		"exhausted": {
			plays:  plays{read: number(1), last: always(fakepg.Reply{Err: fakepg.Conflict()})},
			policy: func(p *cockroachdb.RetryPolicy) { p.MaxAttempts, p.InitialBackoff = 3, 0 },
			is:     isErr[*cockroachdb.RetriesExhaustedError],
		},
		"not replayable": {
			plays:  plays{read: number(1), sqlFree: loses(1)},
			policy: func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 1 },
			is:     isErr[*cockroachdb.NotReplayableError],
		},
		"retries off": {
			plays:  plays{read: number(1), last: loses(1)},
			policy: func(p *cockroachdb.RetryPolicy) { p.MaxAttempts = 1 },
			is:     isCode("40001"),
		},
		"ambiguous, cut":   {plays: plays{read: number(1), sqlFree: once(fakepg.Reply{Cut: fakepg.CutBefore})}, is: isErr[*cockroachdb.AmbiguousCommitError]},
		"ambiguous, 40003": {plays: plays{read: number(1), sqlFree: failing("40003")}, is: isErr[*cockroachdb.AmbiguousCommitError]},
		"connection lost": {
			plays: plays{read: number(1), last: once(fakepg.Reply{Cut: fakepg.CutHalf})}, is: isErr[*cockroachdb.ConnectionLostError],
			policy: func(p *cockroachdb.RetryPolicy) { p.MaxFailovers = 0 },
		},
		"lost in a replay": {
			plays:  plays{read: number(1), last: inTurn(fakepg.Reply{}, fakepg.Reply{Cut: fakepg.CutUnsent}, fakepg.Reply{}), sqlFree: loses(1)},
			is:     isErr[*cockroachdb.ConnectionLostError],
			policy: func(p *cockroachdb.RetryPolicy) { p.MaxFailovers = 0 },
		},
		"a statement fails":     {plays: plays{read: number(1), last: failing("23505")}, is: isCode("23505")},
		"a query fails":         {plays: plays{read: failing("42P01")}, is: isCode("42P01")},
		"a Parse fails":         {plays: plays{last: func(int) fakepg.Reply { return fakepg.Reply{Err: fakepg.Error("42601", ""), ErrAt: fakepg.AtParse} }, read: number(1)}, is: isCode("42601")},
		"BEGIN fails":           {plays: plays{"BEGIN": failing("53400")}, is: isCode("53400")},
		"SAVEPOINT fails":       {plays: plays{sqlOurs: failing("53400")}, is: isCode("53400")},
		"no way back":           {plays: plays{read: number(1, 2), sqlFree: loses(1), sqlRestart: failing("0A000")}, is: isErr[*cockroachdb.DivergenceError]},
		"ROLLBACK fails":        {plays: plays{read: number(1), last: failing("23505"), "ROLLBACK": failing("XX000")}, is: isCode("23505")},
		"cancelled in a replay": {plays: plays{read: number(1), last: loses(1)}, cancel: true, is: func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.cancel {
					cancelNow = cancel
					inner := tc.plays[last]
					tc.plays[last] = func(n int) fakepg.Reply {
						if n == 1 {
							cancelNow()
						}
						return inner(n)
					}
				}
				srv := fakepg.Start(t, tc.plays.handler(), tc.opts...)
				defer srv.Close()
				db := poolOf(t, srv, func(cfg *cockroachdb.Config) {
					if tc.policy != nil {
						tc.policy(&cfg.RetryPolicy)
					}
				})
				defer db.Close()
				for _, how := range []string{"Rollback", "no Rollback"} {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						require.True(t, tc.cancel, "%v", err)
						break
					}
					err = run(ctx, tx)
					if how == "Rollback" || tc.is(err) {
						require.True(t, tc.is(err), "%T %v", err, err)
						nothingOf(t, err, secretValue)
					}
					if how == "Rollback" {
						_ = tx.Rollback()
					} else { // but the context's end
						cancel()
					}
					usable(t, db)
				}
				require.Eventually(t, func() bool { return db.Stats().InUse == 0 }, time.Minute, time.Millisecond)
			}()
			require.NoError(t, goleak.Find(before))
		})
	}
}

func isErr[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func isCode(code string) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[interface {
			error
			SQLState() string
		}](err)
		return ok && e.SQLState() == code
	}
}

// Case 46: BeginTx's context cancelled during a replay → database/sql's rollback, without a race.
func TestPeerCase46CancelledDuringAReplay(t *testing.T) {
	t.Parallel()
	for name, atCommit := range map[string]bool{"at a statement": false, "at the commit": true} {
		t.Run("the statement has it too, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := plays{update(1): inTurn(fakepg.Reply{}, fakepg.Reply{Delay: time.Hour}), update(2): loses(1)}
				if atCommit {
					p[update(2)], p[sqlFree] = nil, loses(1)
				}
				srv := fakepg.Start(t, p.handler(), fakepg.InMemory())
				db := poolOf(t, srv)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tx, err := db.BeginTx(ctx, nil)
				require.NoError(t, err)
				mustExec(t, tx, update(1))
				time.AfterFunc(time.Minute, cancel) // in the middle of the replay's first statement
				began := time.Now()
				_, err = tx.ExecContext(ctx, update(2))
				if atCommit {
					require.NoError(t, err)
					err = tx.Commit()
				}
				require.ErrorIs(t, err, context.Canceled)
				var ambiguous *cockroachdb.AmbiguousCommitError
				require.NotErrorAs(t, err, &ambiguous, "the commit had lost")
				assert.Equal(t, time.Minute, time.Since(began))
				synctest.Wait()
				assert.Zero(t, db.Stats().InUse, "database/sql has rolled back")
				require.ErrorIs(t, tx.Rollback(), sql.ErrTxDone)
				assert.Equal(t, map[bool]int{true: 1}[atCommit], times(srv, sqlFree))
				usable(t, db)
				_ = db.Close()
			})
		})
	}
	t.Run("the statement has a context of its own", func(t *testing.T) {
		t.Parallel()
		// Not in a bubble: database/sql's rollback waits for the statement on a mutex. The replay that runs is not cut short, but
		// no other begins.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		srv := fakepg.Start(t, plays{
			update(1): func(n int) fakepg.Reply {
				if n == 2 {
					cancel()
				}
				return fakepg.Reply{}
			},
			update(2): func(n int) fakepg.Reply { return fakepg.Reply{Err: fakepg.Conflict()} },
		}.handler())
		db := poolOf(t, srv)
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		mustExec(t, tx, update(1))
		_, err = tx.ExecContext(t.Context(), update(2))
		require.ErrorIs(t, err, context.Canceled)
		usable(t, db)
		require.ErrorIs(t, tx.Rollback(), sql.ErrTxDone)
		assert.Equal(t, 2, times(srv, update(1)))
	})
	// Without a bubble, many times, for the race detector: cancellation at any moment.
	t.Run("at any moment", func(t *testing.T) {
		t.Parallel()
		var runs atomic.Int64
		srv := fakepg.Start(t, plays{update(2): func(int) fakepg.Reply {
			if runs.Add(1)%3 != 0 {
				return fakepg.Reply{Err: fakepg.Conflict()}
			}
			return fakepg.Reply{}
		}}.handler(), fakepg.Quiet())
		db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.InitialBackoff = 0 })
		for i := range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			tx, err := db.BeginTx(ctx, nil)
			require.NoError(t, err)
			time.AfterFunc(time.Duration(i)*20*time.Microsecond, cancel)
			for range 3 {
				_, _ = tx.ExecContext(t.Context(), update(1))
				_, _ = tx.ExecContext(t.Context(), update(2))
			}
			_ = tx.Commit()
			cancel()
			usable(t, db)
		}
	})
}

// Case 47: the record's bound exceeded → pass-through; a later 40001 surfaces with the reason.
func TestPeerCase47BoundOfTheRecord(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO docs VALUES ($1)"
	big := strings.Repeat("b", 2000)
	for cause, set := range map[string]func(*cockroachdb.RetryPolicy){
		"statements": func(p *cockroachdb.RetryPolicy) { p.MaxStatements = 2 },
		"bytes":      func(p *cockroachdb.RetryPolicy) { p.MaxBytes = 2000 },
	} {
		for name, at := range map[string]string{"no conflict": "", "at a statement": update(9), "at the commit": sqlFree, "between": "SELECT v FROM kv"} {
			t.Run(cause+", "+name, func(t *testing.T) {
				t.Parallel()
				p := plays{insert: func(int) fakepg.Reply { return fakepg.Reply{ParamOIDs: []uint32{pgtype.TextOID}} }}
				p["SELECT v FROM kv"] = number(1)
				if at != "" {
					inner := p[at]
					p[at] = func(n int) (r fakepg.Reply) {
						if inner != nil {
							r = inner(n)
						}
						if n == 1 {
							r.Err = fakepg.Conflict()
						}
						return r
					}
				}
				var m *cockroachdb.Metrics
				srv := fakepg.Start(t, p.handler())
				db := poolOf(t, srv, counted(&m), func(cfg *cockroachdb.Config) { set(&cfg.RetryPolicy) })
				tx := begun(t, db)
				err := func() error {
					mustExec(t, tx, update(1))
					mustExec(t, tx, update(2))
					mustExec(t, tx, insert, big)
					var v int64
					if err := tx.QueryRowContext(t.Context(), "SELECT v FROM kv").Scan(&v); err != nil {
						return err
					}
					if _, err := tx.ExecContext(t.Context(), update(9)); err != nil {
						return err
					}
					return tx.Commit()
				}()
				assert.EqualValues(t, 1, metric(t, m, "cockroachdb_not_replayable_total", cause))
				assert.Zero(t, metric(t, m, "cockroachdb_history_bytes", ""))
				assert.Equal(t, 1, times(srv, update(1)))
				if at == "" {
					require.NoError(t, err)
					assert.EqualValues(t, 1, metric(t, m, "cockroachdb_transactions_total", "committed"))
				} else {
					n := isA[*cockroachdb.NotReplayableError](t, err)
					assert.EqualValues(t, cause, n.Cause)
					unwraps(t, err, "40001")
					nothingOf(t, err, big[:20], "INSERT", "docs")
					assert.Contains(t, strings.ToLower(err.Error()), "max"+cause)
					assert.LessOrEqual(t, times(srv, sqlFree), 1)
					_ = tx.Rollback()
					assert.EqualValues(t, 1, metric(t, m, "cockroachdb_transactions_total", "not_replayable"))
				}
				usable(t, db)
			})
		}
	}
	t.Run("up to the bound it is replayed", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{sqlFree: loses(1)}.handler())
		db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.MaxStatements = 2 })
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		mustExec(t, tx, update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, times(srv, update(2)))
	})
	t.Run("the next transaction is recorded again", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{update(3): loses(1)}.handler())
		db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.MaxStatements = 1 })
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		mustExec(t, tx, update(2))
		require.NoError(t, tx.Commit())
		tx = begun(t, db)
		mustExec(t, tx, update(3))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, times(srv, update(3)))
	})
}

// Case 48: a statement prepared on the DB and used through tx.Stmt across a retry; and the same when the server has forgotten the
// statement in between, or the cache has.
func TestPeerCase48PreparedOnTheDB(t *testing.T) {
	t.Parallel()
	const a, b = "UPDATE a SET v = $1", "UPDATE b SET v = $1"
	oid := func(int) fakepg.Reply { return fakepg.Reply{ParamOIDs: []uint32{pgtype.Int8OID}} }
	const one, two = "[x'0000000000000001']", "[x'0000000000000002']"
	parses := func(srv *fakepg.Server, sql string) (n int) { // under a name, or to be run
		for _, m := range slices.Concat(srv.Exchanges()...) {
			if strings.HasPrefix(m, "Parse name=reprise_") && strings.HasSuffix(m, " sql="+sql) {
				n++
			}
		}
		return n
	}
	for _, capacity := range []int{0, 1, 512} {
		t.Run("db.Prepare", func(t *testing.T) {
			t.Parallel()
			srv := fakepg.Start(t, plays{a: oid, b: oid, sqlFree: loses(1, 2)}.handler())
			db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.ConnConfig.StatementCacheCapacity = capacity })
			stmt, err := db.PrepareContext(t.Context(), a)
			require.NoError(t, err)
			tx := begun(t, db)
			inTx := tx.StmtContext(t.Context(), stmt)
			_, err = inTx.ExecContext(t.Context(), int64(1))
			require.NoError(t, err)
			_, err = inTx.ExecContext(t.Context(), int64(2))
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			assert.Equal(t, []string{one, two, one, two, one, two}, binds(srv))
			assert.Equal(t, 1, parses(srv, a), "prepared once")
			_, err = stmt.ExecContext(t.Context(), int64(1))
			require.NoError(t, err)
			require.NoError(t, stmt.Close())
			usable(t, db)
		})
	}
	t.Run("closed before the replay", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{a: oid, sqlFree: loses(1)}.handler())
		db := poolOf(t, srv, func(cfg *cockroachdb.Config) { cfg.ConnConfig.StatementCacheCapacity = 0 })
		tx := begun(t, db)
		stmt, err := tx.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		_, err = stmt.ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		require.NoError(t, stmt.Close())
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{one, one}, binds(srv))
		usable(t, db)
	})
	t.Run("evicted before the replay", func(t *testing.T) {
		t.Parallel()
		srv := fakepg.Start(t, plays{a: oid, b: oid, update(1): loses(1)}.handler())
		db, err := sql.Open("cockroachdb", srv.DSN()+"&statement_cache_capacity=1")
		require.NoError(t, err)
		defer db.Close()
		db.SetMaxOpenConns(1)
		tx := begun(t, db)
		mustExec(t, tx, a, int64(1))
		mustExec(t, tx, b, int64(2)) // takes the place of a
		mustExec(t, tx, update(1))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{one, two, one, two}, binds(srv))
		assert.Contains(t, srv.Statements(), []string{sqlRestart, a, b, update(1)}, "in one round trip")
		assert.Equal(t, []int{1, 1}, []int{parses(srv, a), parses(srv, b)}, "what was evicted goes as text")
		closes := 0
		for _, m := range slices.Concat(srv.Exchanges()...) {
			if strings.HasPrefix(m, "Close S reprise_") {
				closes++
			}
		}
		assert.Equal(t, 1, closes)
		usable(t, db)
	})
	t.Run("forgotten by the server before the replay", func(t *testing.T) {
		t.Parallel()
		// It answers 26000 to the second Bind of a: a replay that finds this out is repeated with the text.
		p := plays{a: func(n int) fakepg.Reply {
			r := oid(n)
			if n == 2 {
				r.Err, r.ErrAt = fakepg.Error("26000", "prepared statement does not exist"), fakepg.AtBind
			}
			return r
		}, b: oid, sqlFree: loses(1)}
		srv := fakepg.Start(t, p.handler())
		db := poolOf(t, srv)
		stmt, err := db.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		defer stmt.Close()
		tx := begun(t, db)
		mustExec(t, tx, b, int64(2))
		_, err = tx.StmtContext(t.Context(), stmt).ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		got := binds(srv)
		assert.Equal(t, []string{two, one}, got[len(got)-2:])
		usable(t, db)
		_, err = stmt.ExecContext(t.Context(), int64(1))
		require.NoError(t, err, "the statement is good for more")
	})
	t.Run("outgrown by its table", func(t *testing.T) {
		t.Parallel()
		// Inside a transaction this fails the statement; what ran before it is run again, and then it, prepared anew.
		p := plays{a: func(n int) fakepg.Reply {
			r := oid(n)
			if n == 1 {
				r.Err = fakepg.Error("0A000", "cached plan must not change result type")
			}
			return r
		}}
		srv := fakepg.Start(t, p.handler())
		db := poolOf(t, srv)
		stmt, err := db.PrepareContext(t.Context(), a)
		require.NoError(t, err)
		defer stmt.Close()
		tx := begun(t, db)
		mustExec(t, tx, update(1))
		_, err = tx.StmtContext(t.Context(), stmt).ExecContext(t.Context(), int64(1))
		require.NoError(t, err)
		mustExec(t, tx, update(2))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, times(srv, update(1)))
		assert.Equal(t, 2, times(srv, a))
		assert.Equal(t, 1, times(srv, update(2)))
		usable(t, db)
	})
}

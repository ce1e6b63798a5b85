package replay_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A query of two rows, so many calls of Next, and what a replay finds in their place.
func TestReplay_Rows_AreVerifiedAsFarAsRead(t *testing.T) {
	t.Parallel()
	diverged := func(kind cockroachdb.DivergenceKind, row int64) *cockroachdb.DivergenceError {
		return &cockroachdb.DivergenceError{Statement: 2, Kind: kind, Row: row, Attempts: 2}
	}
	const row, end = cockroachdb.DivergedRow, cockroachdb.DivergedEndOfRows
	for name, tc := range map[string]struct {
		replay []any
		want   [4]*cockroachdb.DivergenceError // by calls of Next
	}{
		"the same":  {[]any{"a", "b"}, [4]*cockroachdb.DivergenceError{}},
		"one more":  {[]any{"a", "b", "c"}, [4]*cockroachdb.DivergenceError{3: diverged(end, 3)}},
		"many more": {[]any{"a", "b", "c", "d", "e"}, [4]*cockroachdb.DivergenceError{3: diverged(end, 3)}},
		"one fewer": {[]any{"a"}, [4]*cockroachdb.DivergenceError{2: diverged(end, 2), 3: diverged(end, 2)}},
		"none": {
			[]any{}, [4]*cockroachdb.DivergenceError{1: diverged(end, 1), 2: diverged(end, 1), 3: diverged(end, 1)},
		},
		"the first changed": {
			[]any{kit.Secret, "b"},
			[4]*cockroachdb.DivergenceError{1: diverged(row, 1), 2: diverged(row, 1), 3: diverged(row, 1)},
		},
		"the second changed": {
			[]any{"a", kit.Secret}, [4]*cockroachdb.DivergenceError{2: diverged(row, 2), 3: diverged(row, 2)},
		},
		"another order": {
			[]any{"b", "a"}, [4]*cockroachdb.DivergenceError{1: diverged(row, 1), 2: diverged(row, 1), 3: diverged(row, 1)},
		},
		"NULL in place of a": {
			[]any{nil, "b"}, [4]*cockroachdb.DivergenceError{1: diverged(row, 1), 2: diverged(row, 1), 3: diverged(row, 1)},
		},
		"'' in place of b": {[]any{"a", ""}, [4]*cockroachdb.DivergenceError{2: diverged(row, 2), 3: diverged(row, 2)}},
		"inserted in between": {
			[]any{"a", "aa", "b"}, [4]*cockroachdb.DivergenceError{2: diverged(row, 2), 3: diverged(row, 2)},
		},
	} {
		for next, want := range tc.want {
			t.Run(fmt.Sprint(name, "/", next, " calls of Next"), func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{
					"SELECT $1": {kit.Texts("a", "b"), kit.Texts(tc.replay...)}, kit.Update(3): {kit.Conflict, kit.OK},
				})
				tx := st.Begin(t)
				kit.Exec(t, tx, kit.Update(1))
				rows := kit.Query(t, tx, "SELECT $1", kit.Secret)
				for n := range next {
					assert.Equal(t, n < 2, rows.Next())
				}
				require.NoError(t, rows.Close())
				_, err := tx.ExecContext(t.Context(), kit.Update(3))
				if want != nil {
					kit.WantDivergence(t, err, *want)
					st.WantEnded(t, tx)
					return
				}
				require.NoError(t, err)
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{kit.Update(1), "SELECT $1", kit.Update(3)}, st.LastAttempt())
				st.WantKept(t)
			})
		}
	}
}

// NULL and the empty string are different things to have read.
func TestReplay_NullBecomesEmpty_Diverges(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][2]any{"NULL, then ''": {nil, ""}, "'', then NULL": {"", nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"SELECT": {kit.Texts("a", values[0]), kit.Texts("a", values[1])}, kit.Release: {kit.Conflict, kit.OK},
			})
			tx := st.Begin(t)
			kit.Query(t, tx, "SELECT").MustRest()
			kit.WantDivergence(t, tx.Commit(), cockroachdb.DivergenceError{
				Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2,
			})
			st.WantEnded(t, tx)
		})
	}
}

// Beyond the rows by which a divergence is told exactly: it is found all the same.
func TestReplay_LateRowChanged_Diverges(t *testing.T) {
	t.Parallel()
	many := make([]any, 100)
	for i := range many {
		many[i] = fmt.Sprint("row ", i)
	}
	changed := append([]any(nil), many...)
	changed[70] = kit.Secret
	st := kit.New(t, kit.Script{
		"SELECT": {kit.Texts(many...), kit.Texts(changed...)}, kit.Release: {kit.Conflict, kit.OK},
	})
	tx := st.Begin(t)
	require.Len(t, kit.Query(t, tx, "SELECT").MustRest(), 100)
	err := tx.Commit()
	kit.WantDivergence(t, err, cockroachdb.DivergenceError{
		Statement: 1, Kind: cockroachdb.DivergedRow, Row: 33, Attempts: 2,
	})
	assert.ErrorContains(t, err, "row 33 or a later one")
	st.WantEnded(t, tx)
}

// Rows that came before an error were read too, and so was it that no more came.
func TestReplay_RowsBeforeAnErrorChanged_Diverges(t *testing.T) {
	t.Parallel()
	broken := func(values ...any) fakepg.Reply {
		r := kit.Texts(values...)
		r.Err, r.ErrAfterRows = fakepg.Error("22012", "division by zero"), len(values)
		return r
	}
	for name, tc := range map[string]struct {
		replay fakepg.Reply
		want   *cockroachdb.DivergenceError
	}{
		"the same": {broken("a", "b"), nil},
		"changed": {
			broken("a", kit.Secret),
			&cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2},
		},
		"one fewer": {
			broken("a"), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 2},
		},
		"none": {
			kit.Fails("22012", "refused"),
			&cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 1, Attempts: 2},
		},
		"one more": {
			broken("a", "b", "c"),
			&cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 3, Attempts: 2},
		},
		"no error": {
			kit.Texts("a", "b"), &cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2},
		},
		"other error": {
			breakingOffWith(kit.Texts("a", "b"), "22003"),
			&cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SELECT": kit.Always(broken("a", "b"), tc.replay), kit.Release: {kit.Conflict, kit.OK}})
			tx := st.Begin(t)
			kit.Exec(t, tx, "SAVEPOINT app")
			rows := kit.Query(t, tx, "SELECT")
			values, err := rows.Rest()
			assert.Equal(t, []string{"a", "b"}, values)
			kit.WantCode(t, err, "22012")
			kit.Exec(t, tx, "ROLLBACK TO SAVEPOINT app")
			kit.Exec(t, tx, kit.Update(1))
			err = tx.Commit()
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			kit.WantDivergence(t, err, *tc.want)
			st.WantEnded(t, tx)
		})
	}
}

func breakingOffWith(r fakepg.Reply, code string) fakepg.Reply {
	r.Err, r.ErrAfterRows = fakepg.Error(code, "refused"), len(r.Values)
	return r
}

// On data: 0 to 3 calls of Next, then a concurrent insert, update or delete.
func TestReplay_RowsOnData_AreVerifiedAsFarAsRead(t *testing.T) {
	t.Parallel()
	type outcomes [4]any // by calls of Next: nil, or kind and row
	const row, end = cockroachdb.DivergedRow, cockroachdb.DivergedEndOfRows
	for rival, want := range map[string]outcomes{
		"INSERT INTO kv VALUES (4, 40)":      {3: []any{end, int64(3)}},
		"UPDATE kv SET v = 31 WHERE k = 3":   {2: []any{row, int64(2)}, 3: []any{row, int64(2)}},
		"DELETE FROM kv WHERE k = 3":         {2: []any{end, int64(2)}, 3: []any{end, int64(2)}},
		"INSERT INTO kv VALUES (1000, 1000)": {},
	} {
		t.Run(rival, func(t *testing.T) {
			t.Parallel()
			for next, want := range want {
				a := kit.NewKV(t)
				tx := a.Begin(t)
				rows := kit.Query(t, tx, "SELECT v FROM kv WHERE k BETWEEN $1 AND 9 ORDER BY k", 2)
				for n := range next {
					require.Equal(t, n < 2, rows.Next())
				}
				require.NoError(t, rows.Close())
				err := a.Provoke(t, tx, rival)
				if want == nil {
					require.NoError(t, err, "%d calls of Next", next)
					a.MustCommit(t, tx)
					continue
				}
				kit.WantConflict(t, err)
				var diverged *cockroachdb.DivergenceError
				require.ErrorAs(t, err, &diverged)
				assert.Equal(t, want, []any{diverged.Kind, diverged.Row}, "%d calls of Next", next)
				assert.Equal(t, 1, diverged.Statement)
				a.WantEnded(t, tx)
			}
		})
	}
}

// By QueryRow: it sees one row or the end, and never what comes after the first row.
func TestReplay_QueryRow_VerifiesItsRowAlone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first, replay []any
		want          *cockroachdb.DivergenceError
	}{
		"a second row":  {[]any{"a"}, []any{"a", "b"}, nil},
		"no second row": {[]any{"a", "b"}, []any{"a"}, nil},
		"no row any more": {
			[]any{"a"},
			nil,
			&cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 1, Attempts: 2},
		},
		"a row after all": {
			nil,
			[]any{kit.Secret},
			&cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedEndOfRows, Row: 1, Attempts: 2},
		},
		"still no row": {nil, nil, nil},
		"another first row": {
			[]any{"a"},
			[]any{kit.Secret},
			&cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"SELECT": {kit.Texts(tc.first...), kit.Texts(tc.replay...)}, kit.Release: {kit.Conflict, kit.OK},
			})
			tx := st.Begin(t)
			err := tx.QueryRowContext(t.Context(), "SELECT").Scan(new(string))
			if tc.first == nil {
				require.ErrorIs(t, err, sql.ErrNoRows)
			} else {
				require.NoError(t, err)
			}
			err = tx.Commit()
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			kit.WantDivergence(t, err, *tc.want)
			st.WantEnded(t, tx)
		})
	}
}

// 40001 in mid-stream, rows already read changed → divergence, from Rows.Err.
func TestReplay_RowAlreadyReadChanged_Diverges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		replay fakepg.Reply
		want   cockroachdb.DivergenceError
	}{
		"changed": {
			kit.Texts("a", kit.Secret, "c"),
			cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 2},
		},
		"fewer": {
			kit.Texts("a"), cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedEndOfRows, Row: 2, Attempts: 2},
		},
		"an error": {
			kit.Fails("22012", "refused"),
			cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedSQLState, Attempts: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SELECT": kit.Always(kit.BreakOff(kit.Texts("a", "b"), 2), tc.replay)})
			tx := st.Begin(t)
			kit.Exec(t, tx, kit.Update(1))
			rows := kit.Query(t, tx, "SELECT")
			assert.Equal(t, []string{"a", "b"}, rows.Read(2))
			more, err := rows.Rest()
			assert.Empty(t, more)
			kit.WantDivergence(t, err, tc.want)
			_, err = tx.ExecContext(t.Context(), kit.Update(2))
			kit.WantCode(t, err, "25P02")
			st.WantEnded(t, tx)
		})
	}
}

// Where it is not the query but a statement before it that would be answered otherwise.
func TestReplay_MidStreamEarlierStatementChanged_Diverges(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		kit.Update(1): {kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2")},
		"SELECT":      {kit.BreakOff(kit.Texts("a", "b"), 2), kit.Texts("a", "b")},
	})
	tx := st.Begin(t)
	kit.Affected(t, tx, kit.Update(1))
	rows := kit.Query(t, tx, "SELECT")
	more, err := rows.Rest()
	assert.Equal(t, []string{"a", "b"}, more)
	kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 1, Kind: cockroachdb.DivergedCount, Attempts: 2})
	st.WantEnded(t, tx)
}

// 40001 in mid-stream, only unread rows changed → the new rows are delivered. Twice, the second time after a row that
// only the second attempt has delivered.
func TestReplay_UnreadRowsChanged_GoesOn(t *testing.T) {
	t.Parallel()
	old := []any{"a", "b", "c"}
	for read := range old {
		for _, mode := range kit.QueryModes {
			t.Run(fmt.Sprint(read, " rows read/", mode), func(t *testing.T) {
				t.Parallel()
				renewed := append(append([]any(nil), old[:read]...), "x", "y", "z")
				st := kit.New(t, kit.Script{"SELECT": {
					kit.BreakOff(kit.Texts(old...), read),
					kit.BreakOff(kit.Texts(renewed...), read+1),
					kit.Texts(renewed...),
				}}, "default_query_exec_mode="+mode)
				tx := st.Begin(t)
				kit.Exec(t, tx, kit.Update(1))
				var want []string
				for _, v := range renewed {
					want = append(want, v.(string))
				}
				rows := kit.Query(t, tx, "SELECT")
				assert.Equal(t, want, rows.MustRest())
				kit.Exec(t, tx, kit.Update(2))
				require.NoError(t, tx.Commit())
				assert.Equal(t, []string{kit.Update(1), "SELECT", kit.Update(2)}, append(st.LastAttempt(), kit.Update(2))[:3])
				st.WantKept(t)
			})
		}
	}
}

// The row that only the second attempt has delivered counts as read in the third.
func TestReplay_RowsOfTheSecondAttemptChanged_Diverges(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{
		"SELECT": {kit.BreakOff(kit.Texts("a", "b"), 1), kit.BreakOff(kit.Texts("a", "x"), 2), kit.Texts("a", kit.Secret)},
	})
	tx := st.Begin(t)
	rows := kit.Query(t, tx, "SELECT")
	assert.Equal(t, []string{"a", "x"}, rows.Read(2))
	assert.False(t, rows.Next())
	kit.WantDivergence(t, rows.Err(), cockroachdb.DivergenceError{
		Statement: 1, Kind: cockroachdb.DivergedRow, Row: 2, Attempts: 3,
	})
	st.WantEnded(t, tx)
}

// The statement goes on from where it broke off.
func TestReplay_UnreadRowsChangedOutside_GoesOn(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT": {kit.BreakOff(kit.Texts("a", "b", "c"), 2), kit.Texts("a", "b", "x", "y")}})
	assert.Equal(t, []string{"a", "b", "x", "y"}, kit.Query(t, st, "SELECT").MustRest())
	assert.Equal(t, []string{"SELECT", "SELECT"}, st.Sent())
	kit.Exec(t, st, kit.Update(1))
	assert.Equal(t, 1, st.Server.Connections())
}

// On data: the conflict comes after the second row, and the rival has changed one row.
func TestReplay_MidStreamOnData_VerifiesWhatWasRead(t *testing.T) {
	t.Parallel()
	for rival, want := range map[string]any{
		"UPDATE kv SET v = 11 WHERE k = 1":              int64(1),
		"UPDATE kv SET v = 21 WHERE k = 2":              int64(2),
		"UPDATE kv SET v = 31 WHERE k = 3":              []string{"10", "20", "31"},
		"INSERT INTO kv VALUES (4, 40)":                 []string{"10", "20", "30", "40"},
		"DELETE FROM kv WHERE k = 3":                    []string{"10", "20"},
		"UPDATE kv SET v = v WHERE k = 1":               []string{"10", "20", "30"},
		"UPDATE kv SET k = 0 WHERE k = 2 OR v = 987654": int64(1), // comes first now
	} {
		t.Run(rival, func(t *testing.T) {
			t.Parallel()
			a, sim := kit.NewKVSim(t)
			tx := a.Begin(t)
			kit.Exec(t, tx, "UPDATE kv SET v = v + 1 WHERE k = 100")
			sim.Inject(crdbsim.On("^select", crdbsim.Action{
				Then: crdbsim.ExecuteFail, AfterRows: 2, Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
				CallReply: func() { kit.Exec(t, a.Rival, rival) },
			}))
			rows := kit.Query(t, tx, "SELECT v FROM kv WHERE k < $1 ORDER BY k", 50)
			got := rows.Read(2)
			more, err := rows.Rest()
			if values, fine := want.([]string); fine {
				require.NoError(t, err)
				assert.Equal(t, values, append(got, more...))
				require.NoError(t, tx.Commit())
				assert.Equal(t, 1, a.Value(t, 100))
				return
			}
			kit.WantDivergence(t, err, cockroachdb.DivergenceError{
				Statement: 2, Kind: cockroachdb.DivergedRow, Row: want.(int64), Attempts: 2,
			})
			a.WantEnded(t, tx)
		})
	}
}

// 40001 that surfaces in Rows.Close or while QueryRow drains → retried.
func TestReplay_ConflictInClose_IsAbsorbed(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*testing.T, *sql.Tx){
		"Close": func(t *testing.T, tx *sql.Tx) {
			rows := kit.Query(t, tx, "SELECT")
			rows.Read(1)
			require.NoError(t, rows.Close())
		},
		"Close, nothing read": func(t *testing.T, tx *sql.Tx) { require.NoError(t, kit.Query(t, tx, "SELECT").Close()) },
		"QueryRow": func(t *testing.T, tx *sql.Tx) {
			var v string
			require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT").Scan(&v))
			assert.Equal(t, "a", v)
		},
		"QueryRow, and Scan fails": func(t *testing.T, tx *sql.Tx) {
			require.ErrorContains(t, tx.QueryRowContext(t.Context(), "SELECT").Scan(new(int)), "invalid syntax")
		},
		"Exec": func(t *testing.T, tx *sql.Tx) { kit.Exec(t, tx, "SELECT") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SELECT": {kit.BreakOff(kit.Texts("a", "b"), 2), kit.Texts("a", "x")}})
			tx := st.Begin(t)
			kit.Exec(t, tx, kit.Update(1))
			read(t, tx)
			kit.Exec(t, tx, kit.Update(2))
			require.NoError(t, tx.Commit())
			assert.Contains(t, st.Sent(), kit.RollbackTo)
			assert.Equal(t, kit.Update(2), st.LastAttempt()[len(st.LastAttempt())-1])
			st.WantKept(t)
		})
	}
}

// If the caller ignores Close's error the next statement must not get 25P02, which no retry loop knows: it gets the
// error that Close gave, and so does Commit.
func TestReplay_CloseErrorIgnored_CommitFails(t *testing.T) {
	t.Parallel()
	want := cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2}
	for how, read := range map[string]func(*testing.T, *sql.Tx){
		"Close": func(t *testing.T, tx *sql.Tx) {
			rows := kit.Query(t, tx, "SELECT")
			rows.Read(1)
			_ = rows.Close()
		},
		"QueryRow whose Scan fails": func(t *testing.T, tx *sql.Tx) {
			require.ErrorContains(t, tx.QueryRowContext(t.Context(), "SELECT").Scan(new(int)), "invalid syntax")
		},
	} {
		for what, next := range map[string]func(context.Context, *sql.Tx) error{
			"Exec": func(ctx context.Context, tx *sql.Tx) error { _, err := tx.ExecContext(ctx, kit.Update(2)); return err },
			"Prepare": func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.PrepareContext(ctx, kit.Update(2))
				return err
			},
			"QueryRow": func(ctx context.Context, tx *sql.Tx) error {
				return tx.QueryRowContext(ctx, "SELECT 2").Scan(new(int))
			},
			"Commit": func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
		} {
			t.Run(how+"/"+what, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{"SELECT": {kit.BreakOff(kit.Texts("a", "b"), 2), kit.Texts(kit.Secret)}})
				tx := st.Begin(t)
				kit.Exec(t, tx, kit.Update(1))
				read(t, tx)
				kit.WantDivergence(t, next(t.Context(), tx), want)
				if what != "Commit" { // once is enough
					_, err := tx.ExecContext(t.Context(), kit.Update(3))
					kit.WantCode(t, err, "25P02")
				}
				st.WantEnded(t, tx)
			})
		}
	}
}

// Rows that are still open at the commit are closed by database/sql, which drops their error.
func TestReplay_RowsLeftOpenAtCommit_AreVerified(t *testing.T) {
	t.Parallel()
	for name, replay := range map[string]fakepg.Reply{"absorbed": kit.Texts("a", "x"), "diverged": kit.Texts(kit.Secret)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SELECT": kit.Always(kit.BreakOff(kit.Texts("a", "b"), 2), replay)})
			tx := st.Begin(t)
			kit.Exec(t, tx, kit.Update(1))
			kit.Query(t, tx, "SELECT").Read(1)
			err := tx.Commit()
			if name == "absorbed" {
				require.NoError(t, err)
				assert.Equal(t, []string{kit.Update(1), "SELECT"}, st.LastAttempt())
			} else {
				kit.WantDivergence(t, err, cockroachdb.DivergenceError{
					Statement: 2, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2,
				})
				assert.NotContains(t, st.Sent(), kit.Release)
			}
			st.WantEnded(t, tx)
		})
	}
}

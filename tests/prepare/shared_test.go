package prepare_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const sharedText = "UPDATE shared SET v = $1 RETURNING v"

// A sharing is a server, and a connector of which one connection knows sharedText, and another one does not.
type sharing struct {
	*kit.Rig
	cold   *sql.Conn
	number int // of the cold connection

	oid    atomic.Uint32                       // the type of sharedText's parameter and column
	answer func(fakepg.Statement) fakepg.Reply // to sharedText, before all else, unless it is nil or returns OK
}

func share(t *testing.T, options ...any) *sharing {
	t.Helper()
	s := &sharing{}
	s.oid.Store(pgtype.Int8OID)
	s.Rig = kit.Answering(t, func(st fakepg.Statement) fakepg.Reply {
		if st.SQL != sharedText {
			return kit.OK
		}
		if s.answer != nil {
			if r := s.answer(st); r.Err != nil || r.Cut != fakepg.NoCut {
				return r
			}
		}
		oid := s.oid.Load()
		r := kit.Texts("5")
		switch r.ParamOIDs = []uint32{oid}; oid {
		case pgtype.Int8OID:
			r.Columns, r.Values = kit.Column("v", oid), [][]any{{int64(5)}}
		case pgtype.Float8OID:
			r.Columns, r.Values = kit.Column("v", oid), [][]any{{float64(5)}}
		}
		return r
	}, options...)
	s.SetMaxOpenConns(0)
	warm := kit.Conn(t, s.DB)
	assert.Equal(t, "5", kit.Scan[string](t, warm, sharedText, 5))
	s.cold = kit.Conn(t, s.DB)
	s.number = s.Connections()
	s.Forget()
	return s
}

// transact runs sharedText as the second statement of a transaction on the cold connection, and commits.
func (s *sharing) transact(t *testing.T, ctx context.Context, arg any) (v string, err error) {
	t.Helper()
	tx, err := s.cold.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	kit.Exec(t, tx, kit.Update(1))
	if err := tx.QueryRowContext(t.Context(), sharedText, arg).Scan(&v); err != nil {
		return "", err
	}
	return v, tx.Commit()
}

const (
	opens     = "BEGIN; SAVEPOINT; UPDATE kv SET v = v + 1 WHERE k = 1"
	replays   = "ROLLBACK TO; UPDATE kv SET v = v + 1 WHERE k = 1"
	describes = "Describe " + sharedText
	prepares  = "Parse " + sharedText + "; " + sharedText
	commits   = "RELEASE; COMMIT"
)

func TestShared_InATransaction_IsDescribedPreparedAndRunInOneRoundTrip(t *testing.T) {
	t.Parallel()
	s := share(t)
	v, err := s.transact(t, t.Context(), 5)
	require.NoError(t, err)
	assert.Equal(t, "5", v)
	assert.Equal(t, []string{opens, describes + "; " + prepares, commits}, s.Trips(s.number))
	_, err = s.transact(t, t.Context(), 5)
	require.NoError(t, err)
	assert.Equal(t, []string{opens, sharedText, commits}, s.Trips(s.number)[3:], "it is known now")
}

// The types may have changed such that the server would cast one to the other without a word, or refuse it: neither
// comes to light, and nothing of the first run is left.
func TestShared_ChangedInATransaction_IsUndoneAndRunAnew(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(fakepg.Statement) fakepg.Reply{
		"cast": nil,
		"refused": func(st fakepg.Statement) fakepg.Reply {
			if st.Describing || st.Params[0][7] != 5 { // it is no int8
				return kit.OK
			}
			return fakepg.Reply{Err: fakepg.Error("42883", "operator does not exist"), ErrAt: fakepg.AtBind}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := share(t)
			s.oid.Store(pgtype.Float8OID)
			s.answer = answer
			before := s.Counts(t)
			v, err := s.transact(t, t.Context(), 5)
			require.NoError(t, err)
			assert.Equal(t, "5", v)
			want := []string{opens, describes + "; " + prepares, replays + "; " + sharedText, commits}
			assert.Equal(t, want, s.Trips(s.number))
			assert.Equal(t, []string{"[x'0000000000000005']", "[x'4014000000000000']"}, s.Binds(), "encoded anew")
			moved := s.Moved(t, before)
			assert.EqualValues(t, 1, moved["transaction_retries_total statement stale_plan"], moved)
			assert.Zero(t, s.Counts(t)["history_bytes"])
			assert.Equal(t, parsed(s.Server), closedNext(t, s), "the name of what was believed is free")
		})
	}
}

// closedNext runs one more transaction on the cold connection, and returns what was deallocated until then.
func closedNext(t *testing.T, s *sharing) []string {
	t.Helper()
	names := parsed(s.Server)
	_, err := s.transact(t, t.Context(), 5)
	require.NoError(t, err)
	assert.Len(t, parsed(s.Server), len(names)+1)
	return closed(s.Server)
}

func TestShared_ConflictInTheFirstRun_IsReplayedInOneRoundTrip(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		at      fakepg.Step
		replay  string
		changed bool
	}{
		"it was described":                   {fakepg.AtExecute, replays + "; " + sharedText, false},
		"it was not":                         {fakepg.AtParse, replays + "; " + describes + "; " + sharedText, false},
		"it was not, and changes meanwhile":  {fakepg.AtParse, replays + "; " + describes + "; " + sharedText, true},
		"it was, and had changed before all": {fakepg.AtExecute, replays + "; " + sharedText, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := share(t)
			var lost atomic.Bool
			if tc.changed {
				s.oid.Store(pgtype.Float8OID)
			}
			s.answer = func(st fakepg.Statement) fakepg.Reply {
				if st.Describing == (tc.at == fakepg.AtParse) && !lost.Swap(true) {
					return fakepg.Reply{Err: fakepg.Conflict(), ErrAt: tc.at}
				}
				return kit.OK
			}
			v, err := s.transact(t, t.Context(), 5)
			require.NoError(t, err)
			assert.Equal(t, "5", v)
			want := []string{opens, describes + "; " + prepares, tc.replay, commits}
			if tc.changed && tc.at == fakepg.AtParse {
				want = append(want[:3], replays+"; "+sharedText, commits)
			}
			assert.Equal(t, want, s.Trips(s.number))
		})
	}
}

func TestShared_ConnectionLostInTheFirstRun_GoesOnElsewhere(t *testing.T) {
	t.Parallel()
	for _, changed := range []bool{false, true} {
		s := share(t)
		var lost atomic.Bool
		s.answer = func(st fakepg.Statement) fakepg.Reply {
			if !st.Describing && !lost.Swap(true) {
				return kit.CutOff
			}
			return kit.OK
		}
		if changed {
			s.oid.Store(pgtype.Float8OID)
		}
		v, err := s.transact(t, t.Context(), 5)
		require.NoError(t, err)
		assert.Equal(t, "5", v)
		want := []string{opens + "; " + describes + "; " + sharedText, commits}
		if changed {
			want = []string{want[0], replays + "; " + sharedText, commits}
		}
		assert.Equal(t, want, s.Trips(s.Connections()))
	}
}

// What can't be undone is not sent by what others know: the server is asked first.
func TestShared_WhatCanNotBeUndone_IsAskedForFirst(t *testing.T) {
	t.Parallel()
	asked := []string{describes, prepares}
	for name, tc := range map[string]struct {
		options []any
		run     func(t *testing.T, s *sharing) (string, error)
		want    []string
	}{
		"a write alone": {nil, func(t *testing.T, s *sharing) (v string, err error) {
			return v, s.cold.QueryRowContext(t.Context(), sharedText, 5).Scan(&v)
		}, asked},
		"a Stmt that writes alone": {nil, func(t *testing.T, s *sharing) (v string, err error) {
			stmt, err := s.cold.PrepareContext(t.Context(), sharedText)
			require.NoError(t, err)
			defer stmt.Close()
			return v, stmt.QueryRowContext(t.Context(), 5).Scan(&v)
		}, asked},
		"without retries": {nil, func(t *testing.T, s *sharing) (string, error) {
			return s.transact(t, cockroachdb.WithoutRetries(t.Context()), 5)
		}, append([]string{strings.Replace(opens, " SAVEPOINT;", "", 1)}, append(asked, "COMMIT")...)},
		"no room for its number": {
			[]any{"retry_max_statements=1"},
			func(t *testing.T, s *sharing) (string, error) { return s.transact(t, t.Context(), 5) },
			append([]string{opens}, append(asked, commits)...),
		},
		"no room for its bytes": {
			[]any{"retry_max_bytes=500"},
			func(t *testing.T, s *sharing) (string, error) { return s.transact(t, t.Context(), 5) },
			append([]string{opens}, append(asked, commits)...),
		},
		"the server's transaction is over": {nil, func(t *testing.T, s *sharing) (v string, err error) {
			tx, err := s.cold.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			kit.Exec(t, tx, "COMMIT")
			defer func() { _ = tx.Rollback() }()
			return v, tx.QueryRowContext(t.Context(), sharedText, 5).Scan(&v)
		}, append([]string{"BEGIN; SAVEPOINT; COMMIT"}, asked...)},
	} {
		for _, changed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, changed=%t", name, changed), func(t *testing.T) {
				t.Parallel()
				s := share(t, tc.options...)
				if changed {
					s.oid.Store(pgtype.Float8OID)
				}
				_, err := tc.run(t, s)
				require.NoError(t, err)
				assert.Equal(t, tc.want, s.Trips(s.number))
			})
		}
	}
}

// The server's own errors are told as they are: the statement was described as it is.
func TestShared_TheServersError_IsReturned(t *testing.T) {
	t.Parallel()
	for code, at := range map[string]fakepg.Step{
		"23505": fakepg.AtExecute, "22P02": fakepg.AtBind, "42P01": fakepg.AtParse,
	} {
		s := share(t)
		s.answer = func(st fakepg.Statement) fakepg.Reply {
			if st.Describing && at != fakepg.AtParse {
				return kit.OK
			}
			return fakepg.Reply{Err: fakepg.Error(code, "no"), ErrAt: at}
		}
		_, err := s.transact(t, t.Context(), 5)
		kit.WantCode(t, err, code)
		assert.Len(t, s.Trips(s.number), 3, "the second is it, the third rolls back")
	}
}

// An argument that was encoded, and does not fit what the parameter has become, fails the transaction: the statement
// has run with what it was.
func TestShared_ChangedAndTheArgumentDoesNotFit_NothingIsCommitted(t *testing.T) {
	t.Parallel()
	s := share(t)
	s.oid.Store(pgtype.UUIDOID)
	tx, err := s.cold.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), sharedText, 5)
	require.ErrorContains(t, err, "can't be encoded as uuid")
	_, err = tx.ExecContext(t.Context(), kit.Update(1))
	require.Error(t, err)
	require.ErrorIs(t, tx.Commit(), pgx.ErrTxCommitRollback)
	assert.NotContains(t, s.Sent(), "COMMIT")
	assert.NotContains(t, s.Sent(), kit.Update(1))
}

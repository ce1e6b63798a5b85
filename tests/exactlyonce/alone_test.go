package exactlyonce_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

func TestAlone_AnswerLost_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.eachLoss(t, func(t *testing.T, loss loss) {
			for i := range 3 { // prepared, run for the first time, run again
				s.inject(strike(loss.action))
				res, err := s.ExecContext(t.Context(), add, 1)
				require.NoError(t, err)
				if n, err := res.RowsAffected(); err == nil {
					assert.EqualValues(t, 1, n)
				} else { // the statement's own answer may be lost, too
					var lost *cockroachdb.ResultLostError
					require.ErrorAs(t, err, &lost)
					assert.Error(t, errors.Unwrap(lost), "the reason")
					assert.Equal(t, committed, loss.answer)
				}
				assert.Equal(t, i+1, s.number(t, "SELECT n FROM accounts WHERE id = 1"))
			}
			s.wants(t, 3, loss.answer, loss.answer, loss.answer)
		})
	})
}

// The answer to the statement itself is lost, with that to its commit.
func TestAlone_ResultLost_SaysThatItIsCommitted(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.inject(crdbsim.On("^UPDATE accounts", crdbsim.Action{CallReply: s.cut}))
		res, err := s.ExecContext(t.Context(), add, 1)
		require.NoError(t, err)
		if _, err := res.RowsAffected(); err != nil {
			var lost *cockroachdb.ResultLostError
			require.ErrorAs(t, err, &lost)
		}
		assert.Equal(t, 1, s.number(t, "SELECT n FROM accounts WHERE id = 1"))
	})
}

func TestAlone_Returning_AnswerLost_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.eachLoss(t, func(t *testing.T, loss loss) {
			s.inject(strike(loss.action))
			var n int
			err := s.QueryRowContext(t.Context(), add+" RETURNING n", 1).Scan(&n)
			require.NoError(t, err)
			assert.Equal(t, 1, n)
			s.wants(t, 1, loss.answer)
		})
	})
}

// An application that looks at no error of Rows.Close has seen no row of what is not committed.
func TestAlone_Returning_ShownOnceCommitted(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		rows, err := s.QueryContext(t.Context(), add+" RETURNING n, id", 1)
		require.NoError(t, err)
		assert.Equal(t, 1, s.number(t, "SELECT n FROM accounts WHERE id = 1"), "before a row is read")
		require.True(t, rows.Next())
		var n, id int
		require.NoError(t, rows.Scan(&n, &id))
		assert.Equal(t, []int{1, 1}, []int{n, id})
		assert.False(t, rows.Next())
		require.NoError(t, rows.Close())
		require.NoError(t, rows.Err())
	})
}

// On a kept connection another statement may run before the rows are read.
func TestAlone_Returning_ReadLate_AreItsOwn(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		c, err := s.Conn(t.Context())
		require.NoError(t, err)
		defer func() { assert.NoError(t, c.Close()) }()
		first, err := c.QueryContext(t.Context(), "UPDATE accounts SET n = n + 1 WHERE id > $1 RETURNING n, id", 0)
		require.NoError(t, err)
		defer first.Close()
		second, err := c.QueryContext(t.Context(), "SELECT n, id FROM accounts WHERE id > $1 ORDER BY id", 0)
		require.NoError(t, err)
		defer second.Close()
		for _, rows := range []*sql.Rows{first, second} {
			ids := []int{}
			for rows.Next() {
				var n, id int
				require.NoError(t, rows.Scan(&n, &id))
				assert.Equal(t, 1, n)
				ids = append(ids, id)
			}
			require.NoError(t, rows.Err())
			assert.ElementsMatch(t, []int{1, 2}, ids)
		}
	})
}

// What is shown of rows that are read late is not added to what is shown of the statement that ran since, which loses a
// conflict and is verified.
func TestAlone_Returning_ReadLate_OtherRowsLose_AreVerifiedAlone(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		c, err := s.Conn(t.Context())
		require.NoError(t, err)
		defer func() { assert.NoError(t, c.Close()) }()
		late, err := c.QueryContext(t.Context(), "UPDATE accounts SET n = n + 1 WHERE id > $1 RETURNING n, id", 0)
		require.NoError(t, err)
		defer late.Close()
		s.inject(crdbsim.On("^SELECT g", crdbsim.Action{
			Then: crdbsim.ExecuteFail, AfterRows: 2, Error: crdbsim.Conflict("RETRY_SERIALIZABLE"),
		}))
		others, err := c.QueryContext(t.Context(), "SELECT g FROM generate_series(1, $1) AS g", 4)
		require.NoError(t, err)
		defer others.Close()
		require.True(t, others.Next())
		require.True(t, late.Next())
		require.True(t, late.Next())
		for range 3 {
			require.True(t, others.Next(), "%v", others.Err())
		}
		require.False(t, others.Next())
		require.NoError(t, others.Err())
	})
}

// Without arguments a statement goes as a Query message, which nothing can go with.
func TestAlone_NoArguments_AnswerLost_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.eachLoss(t, func(t *testing.T, loss loss) {
			s.inject(strike(loss.action))
			_, err := s.ExecContext(t.Context(), "UPDATE accounts SET n = n + 1 WHERE id = 1")
			require.NoError(t, err)
			s.wants(t, 1, loss.answer)
		})
	})
}

func TestAlone_StatementFails_ErrorAsEver(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		for range 2 {
			_, err := s.ExecContext(t.Context(), "INSERT INTO accounts VALUES ($1, 0)", 1)
			require.ErrorContains(t, err, "23505")
		}
		_, err := s.ExecContext(t.Context(), add, 1)
		require.NoError(t, err)
		s.wants(t, 1)
	})
}

func TestAlone_Conflict_IsRetried(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		for _, at := range []string{"^UPDATE accounts", onMarker, "^COMMIT"} {
			s.inject(crdbsim.On(at, crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}))
			_, err := s.ExecContext(t.Context(), add, 1)
			require.NoError(t, err, at)
		}
		s.wants(t, 3)
	})
}

// A kept connection goes on, on another one.
func TestAlone_OnAConn_Refused_IsRunAgain(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		c, err := s.Conn(t.Context())
		require.NoError(t, err)
		defer func() { assert.NoError(t, c.Close()) }()
		s.inject(strike(crdbsim.Action{Then: crdbsim.Cut}))
		_, err = c.ExecContext(t.Context(), add, 1)
		require.NoError(t, err)
		s.wants(t, 1, refused)
	})
}

// Elsewhere the statement might mean another table.
func TestAlone_SessionCantBeMadeAgain_Refused_IsNotRunElsewhere(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		for _, text := range []string{"CREATE SCHEMA other", "CREATE TABLE other.accounts AS SELECT * FROM accounts"} {
			_, err := s.plain.ExecContext(t.Context(), text)
			require.NoError(t, err)
		}
		c, err := s.Conn(t.Context())
		require.NoError(t, err)
		defer func() { _ = c.Close() }() // database/sql has closed it by then
		_, err = c.ExecContext(t.Context(), "SELECT set_config('search_path', 'other, public', false)")
		require.NoError(t, err)
		_, err = c.ExecContext(t.Context(), add, 1)
		require.NoError(t, err)
		s.inject(strike(crdbsim.Action{Then: crdbsim.Cut}))
		_, err = c.ExecContext(t.Context(), add, 1)
		var lost *cockroachdb.ConnectionLostError
		require.ErrorAs(t, err, &lost)
		assert.Equal(t, cockroachdb.CauseSession, lost.Cause)
		s.wants(t, 0, refused)
		assert.Equal(t, 1, s.number(t, "SELECT n FROM other.accounts WHERE id = 1"))
	})
}

// Who takes any connection of the pool is given another one.
func TestAlone_SessionCantBeMadeAgain_Refused_PoolTakesAnother(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.SetMaxOpenConns(1)
		_, err := s.ExecContext(t.Context(), "LISTEN changes")
		require.NoError(t, err)
		s.inject(strike(crdbsim.Action{Then: crdbsim.Cut}))
		_, err = s.ExecContext(t.Context(), add, 1)
		require.NoError(t, err)
		s.wants(t, 1, refused)
	})
}

func TestAlone_Refused_NoAttemptLeft_NamesTheBound(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		policy := cockroachdb.DefaultRetryPolicy()
		policy.MaxAttempts = 2
		s.inject(
			strike(crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}),
			strike(crdbsim.Action{Then: crdbsim.Cut}),
		)
		_, err := s.ExecContext(cockroachdb.WithRetryPolicy(t.Context(), policy), add, 1)
		lost, ok := errors.AsType[*cockroachdb.ConnectionLostError](err)
		require.True(t, ok, "%T: %v", err, err)
		assert.ErrorContains(t, lost, `the bound "attempts" of its policy is reached`)
		s.wants(t, 0, refused)
	})
}

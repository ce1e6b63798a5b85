package exactlyonce_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// One row for each connection: the next transaction deletes that of the one before.
func TestMarkers_SteadyState_OneForEachConnection(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.SetMaxOpenConns(1)
		for range 5 {
			require.NoError(t, s.begin(t, t.Context(), nil).Commit())
			_, err := s.ExecContext(t.Context(), add, 1)
			require.NoError(t, err)
		}
		there, refusals := s.markers(t)
		assert.Equal(t, []int{1, 0}, []int{there, refusals})
	})
}

func TestMarkers_NothingWritten_None(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		read := func(opts *sql.TxOptions, texts ...string) {
			tx, err := s.BeginTx(t.Context(), opts)
			require.NoError(t, err)
			for _, text := range texts {
				_, err := tx.ExecContext(t.Context(), text)
				require.NoError(t, err)
			}
			require.NoError(t, tx.Commit())
		}
		read(nil, "SELECT n FROM accounts")
		read(nil, "SET LOCAL application_name = 'x'", "SAVEPOINT s", "SELECT 1", "RELEASE SAVEPOINT s")
		read(&sql.TxOptions{ReadOnly: true}, "SELECT count(*) FROM accounts")
		tx := s.begin(t, t.Context(), nil)
		require.NoError(t, tx.Rollback())
		_, err := s.ExecContext(t.Context(), "SELECT n FROM accounts")
		require.NoError(t, err)
		there, refusals := s.markers(t)
		assert.Equal(t, []int{0, 0}, []int{there, refusals})
	})
}

// A transaction that the application has made read only, and that calls a function which might write.
func TestMarkers_ServerTakesNoWrites_CommitsWithoutOne(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		tx, err := s.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		for _, text := range []string{
			"SET TRANSACTION READ ONLY", "SELECT pg_backend_pid(), random()", "SELECT pg_sleep(0)",
		} {
			_, err := tx.ExecContext(t.Context(), text)
			require.NoError(t, err, text)
		}
		require.NoError(t, tx.Commit())
	})
}

// The table is found wherever the application looks for its own tables.
func TestMarkers_SearchPathChanged_AreInTheSameTable(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		_, err := s.plain.ExecContext(t.Context(), "CREATE SCHEMA other")
		require.NoError(t, err)
		s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut}))
		tx, err := s.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), "SET LOCAL search_path = other")
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), "UPDATE public.accounts SET n = n + $1 WHERE id = 1", 1)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		s.wants(t, 1, cockroachdb.CommitAnswerCommitted)
	})
}

// After a TRUNCATE a marker that is missing proves nothing.
func TestTableTruncated_OutcomeStaysUnknown(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		tx := s.begin(t, t.Context(), nil)
		before := crdbsim.On(onAsking, crdbsim.Action{Call: func() {
			_, err := s.plain.ExecContext(context.Background(), "TRUNCATE "+table)
			assert.NoError(t, err)
		}})
		before.At = crdbsim.AtParse // later the question holds a lock on the table
		s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut}), before)
		lost := tx.Commit()
		var ambiguous *cockroachdb.AmbiguousCommitError
		require.ErrorAs(t, lost, &ambiguous)
		s.wants(t, 1, unknown)

		require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), s.plain))
		_, err := cockroachdb.CommitOutcome(t.Context(), s.plain, lost)
		require.ErrorContains(t, err, "was truncated since the commit")

		tx = s.begin(t, t.Context(), nil) // the new table is good for what comes
		s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut}))
		require.NoError(t, tx.Commit())
		s.wants(t, 2, unknown, committed)
	})
}

// A commit was refused, and arrives after the row that refuses it was truncated.
func TestTableTruncated_RefusedCommitArrives_IsNotCarriedOut(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		tx := s.begin(t, t.Context(), nil)
		s.arrivesLate(t, func() {
			_, err := s.plain.ExecContext(context.Background(), "TRUNCATE "+table)
			assert.NoError(t, err)
			assert.NoError(t, cockroachdb.CreateCommitTable(context.Background(), s.plain))
		})
		require.NoError(t, tx.Commit())
		s.wants(t, 1, refused)
	})
}

func TestTableMissing_ErrorAtTheFirstConnection(t *testing.T) {
	t.Parallel()
	_, dsn := enginetest.NewSim(t, crdbsim.Config{})
	db, err := sql.Open("cockroachdb", dsn+"&retry_commit_marker=on&retry_commit_table=public.commits")
	require.NoError(t, err)
	defer db.Close()
	err = db.PingContext(t.Context())
	require.ErrorContains(t, err, "CreateCommitTable")
	require.ErrorContains(t, err, `"public"."commits"`)
	require.ErrorContains(t, err, "42P01")
	require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), db, "public.commits"), "by the same pool")
	require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), db, "public.commits"), "again")
	require.NoError(t, db.PingContext(t.Context()))
}

// A node may go away right after a login. Another one can be asked about the table.
func TestTableTriedOut_ConnectionIsLost_TriesAnother(t *testing.T) {
	t.Parallel()
	s := newTestbed(t, crdbsim.Config{})
	for times, works := range map[int]bool{1: true, 2: true, 3: false} {
		for _, at := range []string{"^SELECT pg_relation_filenode", "^INSERT INTO .*" + table} {
			db, err := sql.Open("cockroachdb", s.dsn+"&retry_commit_marker=on")
			require.NoError(t, err)
			defer db.Close()
			cut := crdbsim.On(at, crdbsim.Action{Then: crdbsim.Cut})
			cut.Times = times
			s.inject(cut)
			err = db.PingContext(t.Context())
			assert.Equal(t, works, err == nil, "%d times at %s: %v", times, at, err)
			assert.Equal(t, times, cut.Hits())
		}
	}
}

func TestTableForbidden_ErrorAtTheFirstConnection(t *testing.T) {
	t.Parallel()
	s := newTestbed(t, crdbsim.Config{})
	db, err := sql.Open("cockroachdb", s.dsn+"&retry_commit_marker=on")
	require.NoError(t, err)
	defer db.Close()
	s.inject(crdbsim.On("^INSERT INTO .*"+table, crdbsim.Action{
		Then: crdbsim.Fail, Error: crdbsim.Error{Code: "42501", Message: "permission denied"},
	}))
	err = db.PingContext(t.Context())
	require.ErrorContains(t, err, "must be allowed to SELECT, INSERT, UPDATE and DELETE")
	require.ErrorContains(t, err, "42501")
	require.NoError(t, db.PingContext(t.Context()), "once it is allowed")
}

// The markers of two commits that nobody could be asked for are asked for later, by two processes.
func TestCommitOutcome_AskedLaterByTwo_OneAnswer(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]crdbsim.Action{
		"carried out": {Then: crdbsim.ExecuteCut}, "not carried out": {Then: crdbsim.Cut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers(t, func(t *testing.T, s *testbed) {
				tx := s.begin(t, t.Context(), nil)
				s.inject(strike(action), unasked())
				lost := tx.Commit()
				var ambiguous *cockroachdb.AmbiguousCommitError
				require.ErrorAs(t, lost, &ambiguous)
				for _, db := range []*sql.DB{s.DB, s.plain, s.DB} {
					is, err := cockroachdb.CommitOutcome(t.Context(), db, lost)
					require.NoError(t, err)
					assert.Equal(t, action.Then == crdbsim.ExecuteCut, is)
					assert.Equal(t, is, s.number(t, "SELECT n FROM accounts WHERE id = 1") == 1)
				}
			})
		})
	}
}

// The commit arrives while it is asked for, by several at once.
func TestCommitOutcome_AskedByManyAtOnce_CommitArrives_OneAnswer(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		lost, deliver := s.commitHeldBack(t)
		var all sync.WaitGroup
		var yes, no atomic.Int32
		for n := range 6 {
			all.Go(func() {
				db := []*sql.DB{s.DB, s.plain}[n%2]
				is, err := cockroachdb.CommitOutcome(t.Context(), db, lost)
				assert.NoError(t, err)
				if is {
					yes.Add(1)
				} else {
					no.Add(1)
				}
			})
		}
		all.Go(func() { assert.NoError(t, deliver()) })
		all.Wait()
		is := s.number(t, "SELECT n FROM accounts WHERE id = 1")
		assert.Equal(t, []int32{int32(6 * is), int32(6 * (1 - is))}, []int32{yes.Load(), no.Load()})
	})
}

func TestCommitOutcome_NoMarker_Error(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, sql.ErrNoRows, &cockroachdb.AmbiguousCommitError{}} {
		_, err := cockroachdb.CommitOutcome(t.Context(), nil, err)
		require.ErrorContains(t, err, "has no commit marker")
	}
}

// A row lock on the marker keeps the question waiting, within the policy's bounds.
func TestCommit_MarkerLocked_EndsWithinTheBounds(t *testing.T) {
	t.Parallel()
	s := newTestbed(t, crdbsim.Config{}, func(c *cockroachdb.Config) { c.RetryPolicy.MaxElapsed = time.Second })
	tx := s.begin(t, t.Context(), nil)
	held := make(chan *sql.Tx, 1)
	s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut}), crdbsim.On(onAsking, crdbsim.Action{Call: func() {
		holder, err := s.plain.BeginTx(context.Background(), nil)
		assert.NoError(t, err)
		held <- holder
		_, err = holder.ExecContext(context.Background(), "SELECT * FROM "+table+" FOR UPDATE")
		assert.NoError(t, err)
	}}))
	lost := tx.Commit()
	var ambiguous *cockroachdb.AmbiguousCommitError
	require.ErrorAs(t, lost, &ambiguous)
	require.NoError(t, (<-held).Rollback())
	is, err := cockroachdb.CommitOutcome(t.Context(), s.DB, lost)
	require.NoError(t, err)
	assert.True(t, is)
}

// The question waits until the marker is not locked any more.
func TestCommit_MarkerLockedForAWhile_IsAnswered(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		unlocked := make(chan error, 1)
		tx := s.begin(t, t.Context(), nil)
		s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut}), crdbsim.On(onAsking, crdbsim.Action{Call: func() {
			holder, err := s.plain.BeginTx(context.Background(), nil)
			assert.NoError(t, err)
			_, err = holder.ExecContext(context.Background(), "SELECT * FROM "+table+" FOR UPDATE")
			assert.NoError(t, err)
			time.AfterFunc(100*time.Millisecond, func() { unlocked <- holder.Rollback() })
		}}))
		require.NoError(t, tx.Commit())
		require.NoError(t, <-unlocked)
		s.wants(t, 1, committed)
	})
}

// A marker costs no round trip.
func TestMarkers_RoundTrips_AsWithoutThem(t *testing.T) {
	t.Parallel()
	for _, cfg := range []crdbsim.Config{{}, {PostgreSQL: true}} {
		trips := func(marked bool) (counts []int) {
			s := newTestbed(t, cfg, func(c *cockroachdb.Config) { c.CommitMarker = marked })
			s.SetMaxOpenConns(1)
			for range 3 {
				for _, do := range []func(){
					func() { require.NoError(t, s.begin(t, t.Context(), nil).Commit()) },
					func() {
						_, err := s.ExecContext(t.Context(), add, 1)
						require.NoError(t, err)
					},
				} {
					before := s.sim.RoundTrips()
					do()
					counts = append(counts, int(s.sim.RoundTrips()-before))
				}
			}
			return counts
		}
		with, without := trips(true), trips(false)
		assert.Equal(t, without, with)
		assert.Equal(t, []int{2, 1}, with[4:])
	}
}

func TestConfig_CommitTable_Checked(t *testing.T) {
	t.Parallel()
	for dsn, says := range map[string]string{
		"retry_commit_marker=yes":                           `"retry_commit_marker" takes on or off`,
		"retry_commit_marker=on&retry_commit_table=a.b.c":   `"retry_commit_table"`,
		"retry_commit_marker=on&retry_commit_table=%22x%22": `"retry_commit_table"`,
	} {
		_, err := cockroachdb.ParseConfig("postgresql://root@localhost:26257/?" + dsn)
		require.ErrorContains(t, err, says)
		assert.False(t, strings.Contains(err.Error(), "a.b.c"))
	}
}

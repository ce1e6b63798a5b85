package restart_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What was sent by a restart that begins anew, after one by savepoint that failed.
var anew = []string{
	"BEGIN; SAVEPOINT; UPDATE a", "UPDATE b", "ROLLBACK TO; UPDATE a; UPDATE b",
	"ROLLBACK; BEGIN; SAVEPOINT; UPDATE a; UPDATE b",
	"RELEASE; COMMIT",
}

// Some versions of CockroachDB take a transaction back to its savepoint, and answer what comes after that with an
// internal error. The first attempt had none, so it is not the transaction's.
func TestRestart_FailsAfterTheSavepoint_BeginsAnew(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"XX000", "0A000", "3B001"} {
		no := kit.Fails(code, "no such thing")
		for where, s := range map[string]kit.Script{
			"the statement that lost": {"UPDATE b": {kit.Conflict, no, kit.OK}},
			"one before it":           {"UPDATE a": {kit.OK, no, kit.OK}, "UPDATE b": {kit.Conflict, kit.OK}},
		} {
			t.Run(code+"/"+where, func(t *testing.T) {
				t.Parallel()
				kit.InBubble(t, s, func(t *testing.T, r *kit.Rig) {
					before := r.Counts(t)
					tx := r.Begin(t)
					require.NoError(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"))
					require.NoError(t, tx.Commit())
					assert.Equal(t, anew, r.Trips(first))
					moved := r.Moved(t, before)
					assert.Equal(t, 1.0, moved["savepoint_restarts_refused_total"])
					assert.Equal(t, 1.0, moved["transactions_total committed"])
					r.SetMaxOpenConns(1)
					kit.WantUsable(t, r.DB)
				})
			})
		}
	}
}

// Where all that the application has done so far was to prepare a statement, that is run first after the savepoint.
func TestRestart_FailsAfterTheSavepointAndPrepare_BeginsAnew(t *testing.T) {
	t.Parallel()
	lost, failed := false, false
	st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		switch {
		case s.SQL != "UPDATE b":
		case s.Describing && !lost:
			lost = true
			return fakepg.Reply{Err: fakepg.Conflict(), ErrAt: fakepg.AtParse}
		case !s.Describing && !failed:
			failed = true
			return kit.Fails("XX000", "no such thing")
		}
		return fakepg.Reply{}
	})
	tx := st.Begin(t)
	stmt, err := tx.PrepareContext(t.Context(), "UPDATE b")
	require.NoError(t, err)
	defer stmt.Close()
	_, err = stmt.ExecContext(t.Context())
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	st.WantKept(t)
}

// The connector does without the savepoint for a minute then.
func TestRestart_FailsAfterTheSavepoint_IsAvoidedForAMinute(t *testing.T) {
	t.Parallel()
	s := kit.Script{"UPDATE b": {kit.Conflict, kit.Fails("XX000", "no such thing"), kit.OK}}
	kit.InBubble(t, s, func(t *testing.T, r *kit.Rig) {
		r.SetMaxOpenConns(1)
		run := func(text string) []string {
			r.Forget()
			tx := r.Begin(t)
			require.NoError(t, kit.ExecAll(tx, "UPDATE a", text))
			require.NoError(t, tx.Commit())
			return r.Trips(first)
		}
		require.Equal(t, anew, run("UPDATE b"))
		assert.Contains(t, run("UPDATE hold 1"), "ROLLBACK; BEGIN; SAVEPOINT; UPDATE a; UPDATE hold 1")
		time.Sleep(time.Minute)
		assert.Contains(t, run("UPDATE hold 2"), "ROLLBACK TO; UPDATE a; UPDATE hold 2")
	})
}

// An error of these codes that the first attempt meets is the application's; so is one that the new beginning meets.
func TestRestart_ErrorIsNotTheSavepoints_IsTold(t *testing.T) {
	t.Parallel()
	no := kit.Fails("XX000", "no such thing")
	for name, s := range map[string]kit.Script{
		"in the first attempt": {"UPDATE b": {no}},
		"after BEGIN, too":     {"UPDATE b": {kit.Conflict, no, no}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, s)
			tx := st.Begin(t)
			kit.WantCode(t, kit.ExecAll(tx, "UPDATE a", "UPDATE b"), "XX000")
			require.Error(t, tx.Commit())
			assert.NotContains(t, st.Sent(), kit.Release)
			st.WantKept(t)
		})
	}
}

// A hot standby's conflict is with recovery, not with another transaction: the same attempt would only meet it again.
func TestRestart_OnAHotStandby_GivesUpSoon(t *testing.T) {
	t.Parallel()
	policy := cockroachdb.DefaultRetryPolicy()
	policy.InitialBackoff, policy.MaxBackoff = 0, 0
	r := kit.Serving(t, func(c *fakepg.Conn) {
		c.Send(&pgproto3.ParameterStatus{Name: "in_hot_standby", Value: "on"})
		c.Serve(kit.Script{"SELECT v": kit.Always(kit.Conflict)}.Reply)
	}, fakepg.PlainPostgreSQL())
	for name, read := range map[string]func(ctx context.Context) error{
		"outside": func(ctx context.Context) error { _, err := kit.ReadAll(ctx, r, "SELECT v"); return err },
		"inside": func(ctx context.Context) error {
			tx, err := r.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			_, err = kit.ReadAll(ctx, tx, "SELECT v")
			return err
		},
	} {
		err := read(cockroachdb.WithRetryPolicy(t.Context(), policy))
		exhausted := kit.As[*cockroachdb.RetriesExhaustedError](t, err)
		assert.Equal(t, 3, exhausted.Attempts, name)
		kit.WantConflict(t, err)
	}
}

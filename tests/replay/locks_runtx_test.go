package replay_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// runsInRunTx is how many transactions of RunTx are counted before a read locks, and before each verdict.
const runsInRunTx = 128

var tooLate = kit.Fails("40001", "restart transaction: TransactionRetryWithProtoRefreshError: "+
	"WriteTooOldError: write for key /Table/104/1/1/0 at timestamp 1.0,0 too old; wrote at 2.0,1")

// addOneInRunTx is addOne in RunTx.
func addOneInRunTx(ctx context.Context, db *sql.DB) error {
	return cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error {
		_, err := addOneIn(ctx, tx)
		return err
	})
}

// loseInRunTx has as many transactions lose as it takes for their read to lock, and then no more.
func (s *rowServer) loseInRunTx(t *testing.T, db *sql.DB) {
	t.Helper()
	s.stir()
	for range runsInRunTx {
		require.NoError(t, addOneInRunTx(t.Context(), db))
	}
	s.calmDown()
}

func lateServer() *rowServer {
	s := newRowServer()
	s.conflict, s.once = tooLate, true
	return s
}

func TestLocks_RunTxThatCameTooLate_LocksFromThenOn(t *testing.T) {
	t.Parallel()
	s, l := lateServer(), &lockListener{}
	r := kit.Answering(t, s.reply, l.hook)
	s.loseInRunTx(t, r.DB)
	assert.Equal(t, []cockroachdb.LockChange{cockroachdb.LockLearned}, l.changes())
	r.Forget()
	require.NoError(t, addOneInRunTx(t.Context(), r.DB))
	assert.Equal(t, []string{"BEGIN", kit.Savepoint, lockRow, writeRow, kit.Release, "COMMIT"}, r.Sent())
	r.Forget()
	_, err := addOne(t.Context(), r.DB)
	require.NoError(t, err)
	assert.Zero(t, r.Times(lockRow), "unchanged code has not learned it")
}

// Where the application wants locks on PostgreSQL, it is by PostgreSQL's words that RunTx learns them.
func TestLocks_RunTxThatCameTooLateOnPostgreSQL_LocksFromThenOn(t *testing.T) {
	t.Parallel()
	s, l := lateServer(), &lockListener{}
	s.conflict = kit.Fails("40001", "could not serialize access due to concurrent update")
	const serializable = "default_transaction_isolation=serializable"
	r := kit.Answering(t, s.reply, l.hook, fakepg.PlainPostgreSQL(), learning, serializable)
	s.loseInRunTx(t, r.DB)
	assert.Equal(t, []cockroachdb.LockChange{cockroachdb.LockLearned}, l.changes())
}

func TestLocks_RunTxThatLostOtherwise_DoesNotLock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conflict fakepg.Reply
		options  []any
	}{
		"another conflict": {conflict: kit.Fails("40001", "restart transaction: RETRY_SERIALIZABLE")},
		"switched off":     {conflict: tooLate, options: []any{"retry_learn_locks=off"}},
		"PostgreSQL": {
			conflict: tooLate, options: []any{fakepg.PlainPostgreSQL(), "default_transaction_isolation=serializable"},
		},
		"READ COMMITTED": {conflict: tooLate, options: []any{"default_transaction_isolation=read%20committed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := lateServer(), &lockListener{}
			s.conflict = c.conflict
			r := kit.Answering(t, s.reply, append(c.options, l.hook)...)
			s.loseInRunTx(t, r.DB)
			assert.Empty(t, l.changes())
		})
	}
}

// In RunTx a lock need not spare anything, but it must not make commits slower. The first verdict is left out: some
// transactions ran without the lock beside those.
func TestLocks_InRunTx_StayUntilCommitsTakeLonger(t *testing.T) {
	t.Parallel()
	took := func(d time.Duration) func(int) fakepg.Reply {
		return func(int) fakepg.Reply {
			reply := rowOf(7)
			reply.Delay = d
			return reply
		}
	}
	for name, c := range map[string]struct {
		locked time.Duration
		want   []cockroachdb.LockChange
	}{
		"as long":            {10 * time.Millisecond, nil},
		"half as long again": {120 * time.Millisecond, []cockroachdb.LockChange{cockroachdb.LockCostly}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := lateServer(), &lockListener{}
			s.locked = took(c.locked)
			s.inBubble(t, func(t *testing.T, _ *fakepg.Server, db *sql.DB) {
				s.loseInRunTx(t, db)
				learned := []cockroachdb.LockChange{cockroachdb.LockLearned}
				for range runsInRunTx {
					require.NoError(t, addOneInRunTx(t.Context(), db))
				}
				assert.Equal(t, learned, l.changes(), "the first verdict")
				for range runsInRunTx {
					require.NoError(t, addOneInRunTx(t.Context(), db))
				}
				assert.Equal(t, append(learned, c.want...), l.changes())
			}, l.hook)
		})
	}
}

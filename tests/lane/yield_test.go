package lane_test

import (
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// On CockroachDB the next one enters when the commit has been sent, on PostgreSQL once it is answered.
func TestLane_CommitUnderWay_TheNextEnters(t *testing.T) {
	t.Parallel()
	slowly := fakepg.Reply{Delay: time.Second}
	for name, c := range map[string]struct {
		commit  string
		options []any
		waits   time.Duration
	}{
		"CockroachDB": {commit: kit.Release},
		"PostgreSQL":  {commit: "COMMIT", options: []any{fakepg.PlainPostgreSQL()}, waits: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := kit.Script{c.commit: {slowly}}
			kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
				holder, next := r.HoldLane(t), r.Begin(t)
				entered := make(chan time.Duration, 1)
				go func() {
					assert.NoError(t, kit.ExecAll(next, sameRow))
					entered <- time.Since(r.Started)
				}()
				time.Sleep(time.Second)
				began := time.Since(r.Started)
				require.NoError(t, holder.Commit())
				assert.Equal(t, time.Second, time.Since(r.Started)-began)
				assert.Equal(t, c.waits, <-entered-began)
				require.NoError(t, next.Commit())
			}, append(c.options, kit.Patient)...)
		})
	}
}

// A commit that was lost puts its transaction before those who wait.
func TestLane_CommitLost_GoesBeforeThoseWhoWait(t *testing.T) {
	t.Parallel()
	lost := fakepg.Reply{Delay: time.Second, Err: fakepg.Conflict()}
	long := fakepg.Reply{Delay: 3 * time.Second}
	script := kit.Script{kit.Release: {lost}, "UPDATE a": {kit.Conflict, long}, "UPDATE b": {kit.Conflict, long}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		holder, second, third := r.HoldLane(t), r.Begin(t), r.Begin(t)
		var others sync.WaitGroup
		for tx, update := range map[*sql.Tx]string{second: "UPDATE a", third: "UPDATE b"} {
			others.Go(func() {
				if tx == third {
					time.Sleep(time.Millisecond)
				}
				assert.NoError(t, kit.ExecAll(tx, update))
				assert.NoError(t, tx.Commit())
			})
		}
		time.Sleep(2 * time.Millisecond)
		require.NoError(t, holder.Commit())
		const afterTheSecond = 3 * time.Second
		assert.InDelta(t, afterTheSecond, time.Since(r.Started), float64(time.Second), "not after the third")
		others.Wait()
	}, kit.Patient)
}

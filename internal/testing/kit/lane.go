package kit

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	holds   = "UPDATE hold"
	holding = holds + " SET v = 1 WHERE k = 1"
)

// HoldLane has a transaction enter the lane, and stay.
func (r *Rig) HoldLane(t testing.TB) *sql.Tx {
	t.Helper()
	tx := r.BeginIn(t, t.Context())
	require.NoError(t, ExecAll(tx, holding))
	return tx
}

// WantFreeLane asserts that a transaction which lost enters the lane at once: it goes back to its savepoint and waits
// for nothing.
func (r *Rig) WantFreeLane(t testing.TB) {
	t.Helper()
	r.probes++
	probe := fmt.Sprintf("%s /* probe %d */", holding, r.probes)
	tx := r.BeginIn(t, t.Context())
	before := time.Now()
	assert.NoError(t, ExecAll(tx, probe))
	assert.Zero(t, time.Since(before), "it had to wait for the lane")
	assert.NoError(t, tx.Commit())
	sent := r.Sent()
	at := slices.Index(sent, probe)
	require.GreaterOrEqual(t, at, 0)
	if next := sent[at+1:]; next[0] != RollbackTo {
		assert.Equal(t, []string{"ROLLBACK", "BEGIN", probe}, next[:3], "without a wait between, as on a plain PostgreSQL")
	}
}

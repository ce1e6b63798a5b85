package exactlyonce_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func TestQuestion_IsCountedAndTold(t *testing.T) {
	t.Parallel()
	metrics := cockroachdb.NewMetrics()
	var told []cockroachdb.CommitEvent
	s := newTestbed(t, crdbsim.Config{}, func(c *cockroachdb.Config) {
		c.Metrics = metrics
		c.OnCommitAsked = func(_ context.Context, e cockroachdb.CommitEvent) { told = append(told, e) }
	})
	tx := s.begin(t, t.Context(), nil)
	s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut}), crdbsim.On(onAsking, crdbsim.Action{Then: crdbsim.Cut}))
	require.NoError(t, tx.Commit())
	require.Len(t, told, 1)
	assert.Equal(t, committed, told[0].Answer)
	assert.Equal(t, 2, told[0].Asked)
	assert.Positive(t, told[0].Elapsed)
	require.Error(t, told[0].Err)
	for answer, times := range map[cockroachdb.CommitAnswer]float64{committed: 1, refused: 0, unknown: 0} {
		assert.Equal(t, times, kit.Counts(t, metrics)["commit_questions_total "+string(answer)], answer)
	}
}

// With markers the answer to a commit is protected too; but outside a transaction only where the statement could be run
// again on another connection.
func TestReport_WithMarkers_CommitsAreProtected(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		require.NoError(t, s.begin(t, t.Context(), nil).Commit())
		c, err := s.Conn(t.Context())
		require.NoError(t, err)
		defer func() { assert.NoError(t, c.Close()) }()
		_, err = c.ExecContext(t.Context(), add, 1)
		require.NoError(t, err)
		var n int
		require.NoError(t, c.QueryRowContext(t.Context(), add+" RETURNING n", 1).Scan(&n))
		report := s.connector.Report()
		assert.Equal(t, cockroachdb.Protection{Total: 1, UntilCommit: 1, Whole: 1}, report.Transactions)
		assert.Equal(t, cockroachdb.Protection{Total: 2, UntilCommit: 2, Whole: 2}, report.Statements)

		_, err = c.ExecContext(t.Context(), "LISTEN changes") // which another connection would not do
		require.NoError(t, err)
		before := s.connector.Report().Statements
		_, err = c.ExecContext(t.Context(), add, 1)
		require.NoError(t, err)
		before.Total, before.UntilCommit = before.Total+1, before.UntilCommit+1
		assert.Equal(t, before, s.connector.Report().Statements)
	})
}

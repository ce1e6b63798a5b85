package crdbsim

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExpire_SilentNode_TransactionsEnd_LateCommitIsNone(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newCluster(t)
		idle, working, waiting := w.at(1).client(t), w.at(1).client(t), w.at(1).client(t)
		exec(idle, read)
		exec(working, "BEGIN", open, update)
		backend := waiting.query("BEGIN; SELECT pg_backend_pid()")[1]
		waiting.send(&pgproto3.Query{String: update})
		waitForLockOf(t, backend)
		w.Node(1).Silence()
		requireLocked(t, w.at(1))
		working.send(&pgproto3.Query{String: "COMMIT"})
		w.Node(1).Expire()
		w.awaitUnlocked(t)
		assert.Equal(t, []string{"C UPDATE 1", "Z I"}, exec(w.at(2).client(t), update))
		waiting.send(&pgproto3.Query{String: read})
		require.NoError(t, w.Node(1).Return())
		assert.Equal(t, []string{"EOF"}, working.rest())
		assert.Contains(t, waiting.rest(), "EOF")
		assert.Equal(t, []string{"D 11", "C SELECT 1", "Z I"}, exec(idle, read), "who was idle stays")
	})
}

// TestSilence_LateCommitIsOne is why an answer that is not given in time says nothing of the outcome.
func TestSilence_LateCommitIsOne(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	c := w.at(1).client(t)
	c.query("BEGIN; " + update)
	w.Node(1).Silence()
	c.send(&pgproto3.Query{String: "COMMIT"})
	require.NoError(t, w.Node(1).Return())
	assert.Equal(t, []string{"C COMMIT", "Z I"}, c.untilReady())
	assert.Equal(t, 11, w.value(t, 1))
}

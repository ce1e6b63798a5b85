package crdbsim

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (n *Node) phaseNow() Phase {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.phase
}

func (n *Node) await(t *testing.T, p Phase) {
	t.Helper()
	require.Eventually(t, func() bool { return n.phaseNow() == p }, time.Minute, time.Millisecond)
}

// drains drains a node in the background.
func drains(t *testing.T, n *Node, steps ...Step) (drained <-chan error) {
	result := make(chan error, 1)
	go func() { result <- n.Drain(t.Context(), steps...) }()
	return result
}

func TestDrain_EachStepEndsWhenTheClientsHaveGone(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	n := w.Node(2)
	idle, working := w.at(2).client(t), w.at(2).client(t)
	working.query("BEGIN; " + update)
	drained := drains(t, n, Step{Unready, 0}, Step{Refusing, time.Millisecond}, Step{Closing, time.Hour}, Step{Dead, 0})
	assert.Equal(t, []string{"E 57P01", "EOF"}, idle.rest())
	n.await(t, Closing)
	assert.Equal(t, []string{"C COMMIT", "Z I"}, working.query("COMMIT"))
	assert.Equal(t, []string{"E 57P01", "EOF"}, working.rest())
	require.NoError(t, <-drained)
	assert.Equal(t, Dead, n.phaseNow())
	require.NoError(t, n.Return())
	assert.Equal(t, []string{"D 11", "C SELECT 1", "Z I"}, w.at(2).client(t).query(read))
}

func TestDrain_TransactionStays_EndsIt(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	working := w.at(1).client(t)
	working.query("BEGIN; " + update)
	drained := drains(t, w.Node(1), Step{Closing, time.Millisecond}, Step{Ended, time.Hour}, Step{Dead, 0})
	assert.Equal(t, []string{"E 57P01", "EOF"}, working.rest())
	require.NoError(t, <-drained)
	assert.Equal(t, 10, w.value(t, 1))
}

func TestDrain_NoClients_DefaultSteps_DownAtOnce(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	require.NoError(t, w.Node(1).Drain(t.Context()))
	assert.Equal(t, Dead, w.Node(1).phaseNow())
}

func TestDrain_ContextEnds_StaysWhereItIs(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	w.at(1).client(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	go func() {
		w.Node(1).await(t, Refusing)
		cancel(stopped)
	}()
	require.ErrorIs(t, w.Node(1).Drain(ctx, Step{Refusing, time.Hour}, Step{Dead, 0}), stopped)
	assert.Equal(t, Refusing, w.Node(1).phaseNow())
}

func TestDrain_Closed_IsAnError(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	require.NoError(t, w.Node(1).Close())
	require.Error(t, w.Node(1).Drain(t.Context()))
}

// TestKill_AtCommit checks both outcomes that a client can't tell from each other.
func TestKill_AtCommit(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newCluster(t)
		n := w.Node(3)
		for want, action := range map[int]Action{10: {Call: n.Kill}, 11: {CallReply: n.Kill}} {
			require.NoError(t, n.Return())
			n.Inject(On("^release", action))
			c := w.at(3).client(t)
			exec(c, "BEGIN", open, "UPDATE kv SET v = 11 WHERE k = 1")
			assert.Equal(t, []string{"EOF"}, exec(c, release))
			w.awaitUnlocked(t)
			assert.Equal(t, want, w.value(t, 1))
			w.at(1).client(t).query("UPDATE kv SET v = 10 WHERE k = 1")
		}
	})
}

func TestKill_LocksAreFree_OthersGoOn(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	holder, waiting, other := w.at(1).client(t), w.at(1).client(t), w.at(2).client(t)
	holder.query("BEGIN; " + update)
	backend := waiting.query("BEGIN; SELECT pg_backend_pid()")[1]
	waiting.send(&pgproto3.Query{String: update})
	waitForLockOf(t, backend)
	w.Node(1).Kill()
	w.awaitUnlocked(t)
	assert.Equal(t, 10, w.value(t, 1))
	assert.Equal(t, []string{"C UPDATE 1", "Z I"}, other.query(update))
}

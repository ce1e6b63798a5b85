package crdbsim

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSpares checks that nothing of a client is left for the next one, who gets its connection to PostgreSQL.
func TestSpares(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	a := w.client(t)
	a.query("SET lock_timeout = '7s'; SET TIME ZONE 'Asia/Tokyo'; CREATE TEMP TABLE mine (k INT); PREPARE p AS SELECT 1")
	a.query("SELECT pg_advisory_lock(1); SET force_savepoint_restart = on")
	a.query("BEGIN; SAVEPOINT cockroach_restart; " + update)
	w.hangUp(a)

	b := w.client(t)
	require.Equal(t, a.key.ProcessID, b.key.ProcessID)
	assert.Equal(t, a.params, b.params)
	assert.Equal(t, []string{"D 10", "C SELECT 1", "Z I"}, b.query(read), "a's transaction is rolled back")
	for sql, want := range map[string][]string{
		"SHOW lock_timeout":            {"D 0", "C SHOW 1", "Z I"},
		"SHOW TIME ZONE":               {"D UTC", "C SHOW 1", "Z I"},
		"SHOW force_savepoint_restart": {"D off", "C SHOW 1", "Z I"},
		"TABLE mine":                   {"E 42P01", "Z I"},
		"EXECUTE p":                    {"E 26000", "Z I"},
		"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()": {"D 0", "C SELECT 1", "Z I"},
	} {
		assert.Equal(t, want, b.query(sql), "%s", sql)
	}
}

// TestSpareIsForItsLike checks that a client which starts up in another way gets a connection of its own.
func TestSpareIsForItsLike(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	a := w.client(t)
	w.hangUp(a)
	b := w.client(t, "lock_timeout", "7s")
	assert.NotEqual(t, a.key.ProcessID, b.key.ProcessID)
	assert.Equal(t, []string{"D 7s", "C SHOW 1", "Z I"}, b.query("SHOW lock_timeout"))
}

// TestSpareThatDied checks that a connection which PostgreSQL has ended meanwhile is not given to anybody.
func TestSpareThatDied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	a, other := w.client(t), w.client(t)
	w.hangUp(a)
	a.waitFor("SELECT pg_terminate_backend($1)::int", 1)
	a.waitForEnd()
	b := w.client(t)
	assert.NotEqual(t, a.key.ProcessID, b.key.ProcessID)
	assert.NotEqual(t, other.key.ProcessID, b.key.ProcessID)
	assert.Equal(t, []string{"D 10", "C SELECT 1", "Z I"}, b.query(read))
}

// TestSpareIsNotCancelled checks that who has hung up can't cancel what the next one does.
func TestSpareIsNotCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	a, holder := w.client(t), w.client(t)
	w.hangUp(a)
	b := w.client(t)
	require.Equal(t, a.key.ProcessID, b.key.ProcessID)
	holder.query("BEGIN; " + update)
	b.send(&pgproto3.Query{String: update})
	b.waitForLock()

	w.cancel(a)
	holder.query("COMMIT")
	assert.Equal(t, []string{"C UPDATE 1", "Z I"}, b.untilReady())
}

// TestSparesAreFew checks that the oldest goes where there are too many.
func TestSparesAreFew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	var clients []*client
	for range mostSpares + 1 {
		clients = append(clients, w.client(t))
	}
	for _, c := range clients {
		w.hangUp(c)
	}
	clients[0].waitForEnd()
	for _, c := range clients[1:] {
		c.waitFor(sessions, 1)
	}
}

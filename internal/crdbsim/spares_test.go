package crdbsim

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newKeepingTestbed makes one whose connections to PostgreSQL are kept for longer than any test takes.
func newKeepingTestbed(t *testing.T) *testbed {
	t.Helper()
	w := newTestbed(t, Config{})
	w.spares.keep = time.Hour
	return w
}

// TestSpares checks that nothing of a client is left for the next one, who gets its connection to PostgreSQL.
func TestSpares(t *testing.T) {
	t.Parallel()
	w := newKeepingTestbed(t)
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
	w := newKeepingTestbed(t)
	a := w.client(t)
	w.hangUp(a)
	b := w.client(t, "lock_timeout", "7s")
	assert.NotEqual(t, a.key.ProcessID, b.key.ProcessID)
	assert.Equal(t, []string{"D 7s", "C SHOW 1", "Z I"}, b.query("SHOW lock_timeout"))
}

// TestSpareThatDied checks that a connection which PostgreSQL has ended meanwhile is not given to anybody.
func TestSpareThatDied(t *testing.T) {
	t.Parallel()
	w := newKeepingTestbed(t)
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
	w := newKeepingTestbed(t)
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
	w := newKeepingTestbed(t)
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

// A tenant is a database and a role of a test's own, made without the Sim.
type tenant struct {
	name  string // of both
	admin *pgx.Conn
}

func newTenant(t *testing.T, w *testbed) *tenant {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), postgres.dsn())
	require.NoError(t, err)
	tn := &tenant{w.schema + "_tenant", admin}
	tn.exec(t, "CREATE DATABASE %s TEMPLATE template0")
	tn.exec(t, "CREATE ROLE %s LOGIN")
	t.Cleanup(func() {
		ctx := context.Background()
		for _, sql := range []string{"DROP DATABASE IF EXISTS %s WITH (FORCE)", "DROP ROLE IF EXISTS %s"} {
			_, err := admin.Exec(ctx, fmt.Sprintf(sql, tn.name))
			assert.NoError(t, err)
		}
		assert.NoError(t, admin.Close(ctx))
	})
	return tn
}

// exec runs a statement on PostgreSQL itself, with the name in it.
func (tn *tenant) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := tn.admin.Exec(t.Context(), fmt.Sprintf(sql, tn.name))
	require.NoError(t, err, sql)
}

func (tn *tenant) login(t *testing.T, w *testbed) (c *client, refused string) {
	t.Helper()
	return w.login(t, "user", tn.name, "database", tn.name)
}

// leaveSpare has a client come and go.
func (tn *tenant) leaveSpare(t *testing.T, w *testbed) *client {
	t.Helper()
	c, refused := tn.login(t, w)
	require.Empty(t, refused)
	w.hangUp(c)
	return c
}

// TestSpareIsAsNew changes what the start of a session depends on, where the Sim doesn't see it.
func TestSpareIsAsNew(t *testing.T) {
	t.Parallel()
	const timeout = "SHOW lock_timeout"
	for _, test := range []struct{ name, change, refused, show, want string }{
		{"nothing", "SELECT '%s'", "", timeout, "D 0"},
		{"setting of the role", "ALTER ROLE %s SET lock_timeout = '7s'", "", timeout, "D 7s"},
		{"setting of the role here", "ALTER ROLE %[1]s IN DATABASE %[1]s SET lock_timeout = '7s'", "", timeout, "D 7s"},
		{"setting of the database", "ALTER DATABASE %s SET lock_timeout = '7s'", "", timeout, "D 7s"},
		{"no login", "ALTER ROLE %s NOLOGIN", "28000", "", ""},
		{"no such role", "DROP ROLE %s", "28000", "", ""},
		{"renamed role", "ALTER ROLE %[1]s RENAME TO %[1]s_gone", "28000", "", ""},
		{"another role of that name", "DROP ROLE %[1]s; CREATE ROLE %[1]s LOGIN", "", timeout, "D 0"},
		{"no right to connect", "REVOKE CONNECT ON DATABASE %s FROM PUBLIC", "42501", "", ""},
		{"no connections", "ALTER DATABASE %s ALLOW_CONNECTIONS false", "55000", "", ""},
		{"limit of the role", "ALTER ROLE %s CONNECTION LIMIT 1", "", timeout, "D 0"},
		{"limit of the database", "ALTER DATABASE %s CONNECTION LIMIT 1", "", timeout, "D 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newKeepingTestbed(t)
			tn := newTenant(t, w)
			before := tn.leaveSpare(t, w)
			tn.exec(t, test.change)
			if test.name == "renamed role" {
				defer tn.exec(t, "DROP ROLE %s_gone")
			}
			c, refused := tn.login(t, w)
			require.Equal(t, test.refused, refused)
			if refused != "" {
				return
			}
			assert.Equal(t, test.want, c.query(test.show)[0])
			assert.Equal(t, test.name == "nothing", before.key.ProcessID == c.key.ProcessID)
		})
	}
}

// TestSpareIsInNobodysWay checks that a session which is counted is not kept.
func TestSpareIsInNobodysWay(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{"ALTER ROLE %s CONNECTION LIMIT 1", "ALTER DATABASE %s CONNECTION LIMIT 1"} {
		w := newKeepingTestbed(t)
		tn := newTenant(t, w)
		tn.exec(t, limit)
		tn.leaveSpare(t, w)
		_, refused := w.login(t, "user", tn.name, "database", tn.name, "lock_timeout", "7s")
		assert.Empty(t, refused)
	}
}

// TestSpareIsNotOfBeforeTheReload checks that the rules by which clients are let in are asked again when they were
// changed, and that the session of a client that had to show a password is not kept. It does not run in parallel, for
// it reloads PostgreSQL's configuration.
func TestSpareIsNotOfBeforeTheReload(t *testing.T) {
	w := newKeepingTestbed(t)
	tn := newTenant(t, w)
	tn.exec(t, "ALTER ROLE %s PASSWORD 'secret'")
	tn.leaveSpare(t, w)
	var file string
	require.NoError(t, tn.admin.QueryRow(t.Context(), "SHOW hba_file").Scan(&file))
	rules, err := os.ReadFile(file)
	require.NoError(t, err)
	reload := func(rules string) {
		require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
		tn.exec(t, "SELECT pg_reload_conf(), '%s'")
	}
	defer reload(string(rules))
	reload("local all " + tn.name + " scram-sha-256\n" + string(rules))
	withPassword := func(password string) error {
		dsn := fmt.Sprintf("postgres://%s:%s@%s/%[1]s?sslmode=disable", tn.name, password, w.Addr())
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			return err
		}
		left := w.Conns() - 1
		require.NoError(t, conn.Close(t.Context()))
		require.Eventually(t, func() bool { return w.Conns() == left }, time.Minute, time.Millisecond)
		return nil
	}
	// The postmaster reads its configuration some time after the call has returned.
	for start := time.Now(); withPassword("wrong") == nil; {
		require.Less(t, time.Since(start), time.Minute)
	}
	_, refused := tn.login(t, w)
	assert.Equal(t, "password", refused, "and is not given the session that was kept")
	require.NoError(t, withPassword("secret"))
	tn.exec(t, "ALTER ROLE %s PASSWORD 'changed'")
	require.ErrorContains(t, withPassword("secret"), "28P01")
	require.NoError(t, withPassword("changed"))
}

func TestDropDatabase_SpareLeavesFirst(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newKeepingTestbed(t)
		tn := newTenant(t, w)
		c := w.client(t)
		tn.leaveSpare(t, w)
		other := w.client(t)
		w.hangUp(other)
		for _, rename := range []string{
			"ALTER DATABASE %[1]s RENAME TO %[1]s_2", `ALTER DATABASE %[1]s_2 RENAME TO "%[1]s"`,
		} {
			assert.Equal(t, []string{"C ALTER DATABASE", "Z I"}, exec(c, fmt.Sprintf(rename, tn.name)))
		}
		tn.leaveSpare(t, w)
		assert.Equal(t, []string{"C DROP DATABASE", "Z I"}, exec(c, "drop database if exists \""+tn.name+"\""))
		assert.Equal(t, other.key.ProcessID, w.client(t).key.ProcessID, "that of another database is still there")
	})
}

// TestDropDatabase_BySomebodyElse checks that a session is not kept for long.
func TestDropDatabase_BySomebodyElse(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	tn := newTenant(t, w)
	tn.leaveSpare(t, w)
	require.Eventually(t, func() bool {
		_, err := tn.admin.Exec(context.Background(), "DROP DATABASE "+tn.name)
		return err == nil
	}, time.Minute, time.Millisecond)
}

func TestClose_EndsTheSpares(t *testing.T) {
	t.Parallel()
	w := newKeepingTestbed(t)
	c := w.client(t)
	w.hangUp(c)
	require.NoError(t, w.Close())
	c.waitFor(sessions, 0)
}

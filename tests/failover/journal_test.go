package failover_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// afterASession runs a transaction that loses its connection, on a connection that has been prepared for it.
func afterASession(t *testing.T, st *kit.Rig, prepare func(*sql.Conn)) error {
	t.Helper()
	conn, err := st.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	prepare(conn)
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	kit.Exec(t, tx, "UPDATE a")
	if err := kit.ExecAll(tx, "UPDATE lost"); err != nil {
		return err
	}
	return tx.Commit()
}

func newSessionRig(t *testing.T, options ...any) *kit.Rig {
	t.Helper()
	return kit.New(t, kit.Script{"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK}}, options...)
}

func TestJournal_PlainSettings_AreMadeAgain(t *testing.T) {
	t.Parallel()
	inTx := func(t *testing.T, c *sql.Conn, commit bool, statements ...string) {
		t.Helper()
		tx, err := c.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, kit.ExecAll(tx, statements...))
		if commit {
			require.NoError(t, tx.Commit())
		} else {
			require.NoError(t, tx.Rollback())
		}
	}
	for name, tc := range map[string]struct {
		prepare func(*testing.T, *sql.Conn)
		want    []string // CockroachDB
	}{
		"nothing": {func(*testing.T, *sql.Conn) {}, nil},
		"in order": {
			func(t *testing.T, c *sql.Conn) {
				t.Helper()
				require.NoError(t, kit.ExecAll(c,
					"SET search_path = a", "SET TIME ZONE 'UTC'", "RESET search_path", "SET ROLE teller", "USE bank"))
			},
			[]string{"SET search_path = a", "SET TIME ZONE 'UTC'", "RESET search_path", "SET ROLE teller", "USE bank"},
		},
		"in a transaction that committed": {
			func(t *testing.T, c *sql.Conn) { t.Helper(); inTx(t, c, true, "SET a.b = 1", "UPDATE x") },
			[]string{"SET a.b = 1"},
		},
		"rolled back, which does not undo it": {
			func(t *testing.T, c *sql.Conn) { t.Helper(); inTx(t, c, false, "SET a.b = 1", "UPDATE x") },
			[]string{"SET a.b = 1"},
		},
		"of the transaction alone": {
			func(t *testing.T, c *sql.Conn) { t.Helper(); inTx(t, c, true, "SET LOCAL a.b = 1", "UPDATE x") },
			nil,
		},
		"that failed": {
			func(t *testing.T, c *sql.Conn) { t.Helper(); require.Error(t, kit.ExecAll(c, "SET nonsense")) }, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK}, "SET nonsense": kit.Always(kit.Fails("42704", "refused")),
			})
			require.NoError(t, afterASession(t, st, func(c *sql.Conn) { tc.prepare(t, c) }))
			first := st.Server.OfConn(2)[0][0]
			if tc.want == nil {
				assert.Equal(t, "Parse name= sql=BEGIN", first)
				return
			}
			assert.Equal(t, "Query "+strings.Join(tc.want, "\n;\n"), first)
		})
	}
}

// What the function had set the first time is there the second time on CockroachDB alone. Another connection is told
// what the lost one had, whenever it was lost.
func TestJournal_RunTxCallsAgain_OnlyWhatStaysIsMadeAgain(t *testing.T) {
	t.Parallel()
	for server, option := range map[string]fakepg.Option{
		"CockroachDB": fakepg.Version("CockroachDB CCL v23.1.2"), "PostgreSQL": fakepg.PlainPostgreSQL(),
	} {
		for _, when := range []string{"in the second call", "afterwards"} {
			t.Run(server+", "+when, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{
					"SELECT v": {kit.Texts("a"), kit.Texts("b"), kit.Texts("b")}, "UPDATE c": {kit.Conflict, kit.OK},
					"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK},
				}, option)
				calls := 0
				require.NoError(t, cockroachdb.RunTx(t.Context(), st.DB, nil, func(tx *sql.Tx) error {
					if calls++; calls == 1 {
						kit.Exec(t, tx, "SET a.b = 1")
					}
					kit.Query(t, tx, "SELECT v").MustRest()
					if err := kit.ExecAll(tx, "UPDATE c"); err != nil || when == "afterwards" {
						return err
					}
					return kit.ExecAll(tx, "UPDATE lost")
				}))
				require.Equal(t, 2, calls)
				if when == "afterwards" {
					tx := st.Begin(t)
					kit.Exec(t, tx, "UPDATE lost")
					require.NoError(t, tx.Commit())
				}
				first := st.Server.OfConn(2)[0][0]
				if server == "CockroachDB" {
					assert.Equal(t, "Query SET a.b = 1", first)
				} else {
					assert.NotContains(t, first, "SET")
				}
			})
		}
	}
}

func TestJournal_WhatCantBeMadeAgain_EndsTheTransaction(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"CREATE TEMP TABLE t (v INT)", "LISTEN jobs", "PREPARE p AS SELECT 1",
		"DEALLOCATE p", "EXECUTE p", "DO $$ BEGIN END $$", "CALL p()",
		"SELECT pg_advisory_lock(1)", "SELECT set_config('a.b', '1', false)",
		"SET a.b = 1; SET c.d = 2", "DISCARD ALL", "LOAD 'x'",
		"DECLARE c CURSOR WITH HOLD FOR SELECT 1",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			st := newSessionRig(t)
			err := afterASession(t, st, func(c *sql.Conn) { require.NoError(t, kit.ExecAll(c, text)) })
			assert.Equal(t, cockroachdb.CauseSession, kit.As[*cockroachdb.ConnectionLostError](t, err).Cause)
			assert.Equal(t, 1, st.Times("UPDATE a"))
		})
	}
	t.Run("Raw", func(t *testing.T) {
		t.Parallel()
		st := newSessionRig(t)
		err := afterASession(t, st, func(c *sql.Conn) {
			require.NoError(t, c.Raw(func(dc any) error {
				dc.(cockroachdb.Conn).Conn()
				return nil
			}))
		})
		assert.Equal(t, cockroachdb.CauseSession, kit.As[*cockroachdb.ConnectionLostError](t, err).Cause)
	})
}

// A read of the pool's does not depend on what somebody else has done to the session: database/sql has others.
func TestJournal_ReadOnASessionThatCantBeMadeAgain_RunsOnAnotherConnection(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]fakepg.Reply{
		"FATAL 57P01": kit.Fatal("57P01", "shutting down"), "cut": {Cut: fakepg.CutBefore},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"SELECT v": {lost, kit.Ints(1)}})
			kit.Exec(t, st.DB, "SET a.b = 1; SET c.d = 2")
			assert.Equal(t, []string{"1"}, kit.Query(t, st.DB, "SELECT v").MustRest())
			assert.Equal(t, 2, st.Server.Connections())
		})
	}
}

func TestJournal_NewSessionIsLostToo_AnotherIsMade(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]fakepg.Reply{
		"FATAL 57P01": kit.Fatal("57P01", "refused"), "ERROR 57P01": kit.Fails("57P01", "refused"),
		"cut": {Cut: fakepg.CutBefore},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := kit.Script{"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK}, "SET x = 1": {kit.OK, refused, kit.OK}}
			st := kit.New(t, script)
			kit.Exec(t, st.DB, "SET x = 1")
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE lost")
			require.NoError(t, tx.Commit())
			assert.Equal(t, 3, st.Server.Connections())
		})
	}
}

// Trouble inside the server says nothing of the setting; that it can't be set does.
func TestJournal_SettingFailsOnNewSession_AnotherIsMadeUnlessRefused(t *testing.T) {
	t.Parallel()
	for code, moves := range map[string]bool{
		"XX001": true, "XX000": true, "53200": true, "40001": true, "57014": true,
		"22023": false, "42501": false, "42704": false, "0A000": false, "55P02": false,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK}, "SET x = 1": {kit.OK, kit.Fails(code, "refused"), kit.OK},
			})
			kit.Exec(t, st.DB, "SET x = 1")
			tx := st.Begin(t)
			err := kit.ExecAll(tx, "UPDATE lost")
			if moves {
				require.NoError(t, err)
				require.NoError(t, tx.Commit())
				return
			}
			kit.As[*cockroachdb.ConnectionLostError](t, err)
			kit.WantCodeWithin(t, err, code)
		})
	}
}

func TestJournal_NewSessionIsAnother_EndsTheTransaction(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*pgx.ConnConfig){
		"user":     func(cc *pgx.ConnConfig) { cc.User = "another" },
		"database": func(cc *pgx.ConnConfig) { cc.Database = "another" },
		"TimeZone": func(cc *pgx.ConnConfig) { cc.RuntimeParams["TimeZone"] = "Europe/Rome" }, // which the server reports
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			connections := 0
			r := kit.New(t, kit.Script{"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK}}, func(cfg *cockroachdb.Config) {
				cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
					if connections++; connections > 1 {
						change(cc)
					}
					return nil
				}
			})
			tx := r.Begin(t)
			kit.Exec(t, tx, "UPDATE a")
			lost := kit.As[*cockroachdb.ConnectionLostError](t, kit.ExecAll(tx, "UPDATE lost"))
			require.ErrorContains(t, lost, "another "+what)
			assert.Equal(t, 1, r.Times("UPDATE a"))
		})
	}
}

// A default that somebody has changed between the two connections is not what the transaction began with.
func TestJournal_DefaultHasChanged_EndsTheTransaction(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	if enginetest.Get(t).IsCockroach() {
		t.Skip("needs PostgreSQL, of which an administrator can end a session")
	}
	admin, db := kit.Open(t, dsn), kit.Open(t, dsn)
	kit.Exec(t, admin, "CREATE TABLE t (id INT)")
	name := kit.Scan[string](t, admin, "SELECT quote_ident(current_database())")
	for zone, first := range map[string]string{
		"Europe/Rome": "INSERT INTO t VALUES (1)",
		"Asia/Tokyo":  "SET LOCAL application_name = 'set by the transaction itself'",
	} {
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, first)
		pid := kit.Scan[int](t, tx, "SELECT pg_backend_pid()")
		kit.Exec(t, admin, "ALTER DATABASE "+name+" SET TimeZone = '"+zone+"'")
		kit.Exec(t, admin, "SELECT pg_terminate_backend($1, 60000)", pid)
		lost := kit.As[*cockroachdb.ConnectionLostError](t, kit.ExecAll(tx, "INSERT INTO t VALUES (2)"))
		require.ErrorContains(t, lost, "another TimeZone")
		require.NoError(t, tx.Rollback())
		assert.Zero(t, kit.Scan[int](t, admin, "SELECT count(*) FROM t"))
	}
}

// What a transaction has set itself, the new session is told by the replay: it need not report that yet.
func TestJournal_TransactionHasSetWhatIsReported_Unseen(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	if enginetest.Get(t).IsCockroach() {
		t.Skip("needs PostgreSQL, of which an administrator can end a session")
	}
	admin := kit.Open(t, dsn)
	for _, set := range []string{"SET TimeZone = 'Europe/Rome'", "SET LOCAL TimeZone = 'Europe/Rome'"} {
		tx := kit.Begin(t, kit.Open(t, dsn))
		kit.Exec(t, tx, "SET LOCAL application_name = 'before'")
		kit.Exec(t, tx, set)
		kit.Exec(t, admin, `SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'before'`)
		assert.Equal(t, "Europe/Rome", kit.Scan[string](t, tx, "SHOW TimeZone"), set)
		require.NoError(t, tx.Commit())
	}
}

func TestJournal_HooksRunAgain(t *testing.T) {
	t.Parallel()
	connected, reset := 0, 0
	r := kit.New(t, kit.Script{"UPDATE lost": {{Cut: fakepg.CutBefore}, kit.OK}}, func(cfg *cockroachdb.Config) {
		cfg.AfterConnect = func(context.Context, *pgx.Conn) error { connected++; return nil }
		cfg.ResetSession = func(context.Context, *pgx.Conn) error { reset++; return nil }
	})
	tx := r.Begin(t)
	before := reset
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "UPDATE lost")
	require.NoError(t, tx.Commit())
	assert.Equal(t, 2, connected)
	assert.Equal(t, before+1, reset)
}

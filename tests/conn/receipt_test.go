//go:build linux

package conn_test

import (
	"database/sql"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A server that has ended a connection does not read what arrives later, and its system does not acknowledge it. So the
// driver knows that a request which met the end was not carried out, although it was sent.

// requests are what an application may send over a connection that the server has ended after "UPDATE a": before is
// run first, then when the server is gone. UPDATE b is to be run once, on another connection.
var requests = map[string]struct {
	before func(*testing.T, *sql.Conn) *sql.Tx
	then   func(*testing.T, *sql.Conn, *sql.Tx)
}{
	"Exec": {alone, func(t *testing.T, c *sql.Conn, _ *sql.Tx) { kit.Exec(t, c, "UPDATE b") }},
	"Exec by the simple protocol": {alone, func(t *testing.T, c *sql.Conn, _ *sql.Tx) {
		kit.Exec(t, c, "UPDATE b", pgx.QueryExecModeSimpleProtocol)
	}},
	"Query": {alone, func(t *testing.T, c *sql.Conn, _ *sql.Tx) {
		assert.Empty(t, kit.Query(t, c, "UPDATE b").MustRest())
	}},
	"the first of a transaction": {alone, func(t *testing.T, c *sql.Conn, _ *sql.Tx) {
		require.NoError(t, begun(t, c, "UPDATE b").Commit())
	}},
	"a later one of a transaction": {inTx, func(t *testing.T, _ *sql.Conn, tx *sql.Tx) {
		kit.Exec(t, tx, "UPDATE b")
		require.NoError(t, tx.Commit())
	}},
	"a commit as text": {inTxB, func(t *testing.T, _ *sql.Conn, tx *sql.Tx) {
		kit.Exec(t, tx, "COMMIT")
		_ = tx.Rollback()
	}},
}

func alone(t *testing.T, c *sql.Conn) *sql.Tx {
	t.Helper()
	kit.Exec(t, c, "UPDATE a")
	return nil
}

func inTx(t *testing.T, c *sql.Conn) *sql.Tx  { return begun(t, c, "UPDATE a") }
func inTxB(t *testing.T, c *sql.Conn) *sql.Tx { return begun(t, c, "UPDATE b") }

func begun(t *testing.T, c *sql.Conn, statement string) *sql.Tx {
	t.Helper()
	tx := kit.Begin(t, c)
	kit.Exec(t, tx, statement)
	return tx
}

func TestReceipt_ServerLeftBeforeTheRequest_Unseen(t *testing.T) {
	t.Parallel()
	for name, r := range requests {
		for how, leave := range map[string]func(*fakepg.Conn){
			"closed":  hangUp,
			"drained": drain,
			"ended":   endFatally,
			"reset":   (*fakepg.Conn).Reset,
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				t.Parallel()
				bothModes(t, func(t *testing.T, encrypted bool) {
					k := newTalker(t, encrypted, 1)
					c := kit.Conn(t, k.db)
					tx := r.before(t, c)
					k.says(t, leave)
					k.Forget()
					r.then(t, c, tx)
					assert.Equal(t, 1, k.Times("UPDATE b"))
					assert.Equal(t, 2, k.Connections())
				})
			})
		}
	}
}

// endFatally closes the connection after the error with which a server does so.
func endFatally(c *fakepg.Conn) {
	c.Send(kit.Fatal("57P01", "terminating connection").Err)
	c.Close()
}

// What may not be run twice was not run once.
func TestReceipt_ServerLeftBeforeAStatementThatMayCommit_Unseen(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"CALL p()", "DO $$ BEGIN COMMIT; END $$", "CREATE TABLE x (); INSERT INTO x VALUES (1)",
	} {
		bothModes(t, func(t *testing.T, encrypted bool) {
			k := newTalker(t, encrypted, 1)
			kit.Exec(t, k.db, "UPDATE a")
			k.says(t, endFatally)
			k.Forget()
			kit.Exec(t, k.db, text)
			assert.Equal(t, 1, len(k.Sent()), "%q", k.Sent())
			assert.Equal(t, 2, k.Connections())
		})
	}
}

// Without retries a transaction does not move, but what became of its commit is known.
func TestReceipt_ServerLeftBeforeTheCommitWithoutRetries_NothingIsCommitted(t *testing.T) {
	t.Parallel()
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts = 1
	bothModes(t, func(t *testing.T, encrypted bool) {
		k := newTalker(t, encrypted, 1)
		tx, err := k.db.BeginTx(cockroachdb.WithRetryPolicy(t.Context(), policy), nil)
		require.NoError(t, err)
		kit.Exec(t, tx, "UPDATE a")
		k.says(t, endFatally)
		err = tx.Commit()
		kit.As[*cockroachdb.ConnectionLostError](t, err)
		kit.WantCodeWithin(t, err, "57P01")
	})
}

// A statement in a transaction that the application has ended as text: what was before it is committed. Nobody may be
// told to run the transaction again, though the statement itself was not run.
func TestReceipt_ServerLeftAfterACommitAsText_IsNotToldToRunAgain(t *testing.T) {
	t.Parallel()
	k := newTalker(t, false, 2)
	tx := kit.Begin(t, k.db)
	kit.Exec(t, tx, "UPDATE a")
	kit.Exec(t, tx, "COMMIT")
	k.says(t, endFatally)
	_, err := tx.ExecContext(t.Context(), "UPDATE b")
	kit.As[*cockroachdb.AmbiguousCommitError](t, err)
	kit.WantCodeWithin(t, err, "57P01")
	assert.Zero(t, k.Times("UPDATE b"))
}

// What is known of a connection is its own: an application may connect with its configuration.
func TestReceipt_ApplicationConnectsWithTheConfiguration_IsNotMixedUp(t *testing.T) {
	t.Parallel()
	k := newTalker(t, false, 1)
	c := kit.Conn(t, k.db)
	kit.Exec(t, c, "UPDATE a")
	require.NoError(t, c.Raw(func(driverConn any) error {
		other, err := pgx.ConnectConfig(t.Context(), driverConn.(cockroachdb.Conn).Conn().Config())
		require.NoError(t, err)
		_, err = other.Exec(t.Context(), "UPDATE c")
		require.NoError(t, err)
		return other.Close(t.Context())
	}))
	k.says(t, hangUp)
	_, err := c.ExecContext(t.Context(), "UPDATE b")
	kit.As[*cockroachdb.ConnectionLostError](t, err)
	assert.NotErrorAs(t, err, new(*cockroachdb.AmbiguousCommitError))
	assert.Zero(t, k.Times("UPDATE b"))
}

// The server has read the request, and then it ends the connection, in whichever way: nobody knows what became of it.
func TestReceipt_ServerHasReadTheRequest_Ambiguous(t *testing.T) {
	t.Parallel()
	for how, leave := range map[string]func(*fakepg.Conn){
		"closed": hangUp,
		"ended":  endFatally,
		"reset":  (*fakepg.Conn).Reset, // before its system has acknowledged the request
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			bothModes(t, func(t *testing.T, encrypted bool) {
				for range 20 { // acknowledgements come at their own time
					k := newTalkerWith(t, encrypted, func(c *fakepg.Conn) {
						c.ReceiveUntilSync()
						leave(c)
					})
					c, err := k.db.Conn(t.Context())
					require.NoError(t, err)
					kit.Exec(t, c, "UPDATE a")
					k.tell <- func(*fakepg.Conn) {}
					_, err = c.ExecContext(t.Context(), "UPDATE b")
					kit.As[*cockroachdb.AmbiguousCommitError](t, err)
					assert.Equal(t, 1, k.Times("UPDATE b"), "it is not run again")
					_ = c.Close()
				}
			})
		})
	}
}

// A real server acts as the fake one does.
func TestReceipt_BackendIsTerminated_WriteIsDoneOnce(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	admin := kit.Open(t, dsn)
	kit.Exec(t, admin, "CREATE TABLE t (id INT)")
	relay := overTCP(t, dsn)
	db := kit.Open(t, relay.dsn)
	end := func(pid int) {
		kit.Exec(t, admin, "SELECT pg_terminate_backend($1)", pid)
		require.Eventually(t, func() bool { return relay.open.Load() == 0 }, time.Minute, time.Millisecond)
	}
	c := kit.Conn(t, db)
	writes := 0
	for range 5 {
		end(kit.Scan[int](t, c, "SELECT pg_backend_pid()"))
		kit.Exec(t, c, "INSERT INTO t VALUES (1)")
		pid := kit.Scan[int](t, c, "SELECT pg_backend_pid()")
		tx := begun(t, c, "INSERT INTO t VALUES (1)")
		end(pid)
		kit.Exec(t, tx, "COMMIT")
		_ = tx.Rollback()
		writes += 2
		assert.Equal(t, writes, kit.Scan[int](t, admin, "SELECT count(*) FROM t"))
	}
}

// A relay passes on connections, over TCP, to a server that listens at a Unix socket.
type relay struct {
	dsn  string
	open atomic.Int64 // how many connections are not closed
}

func overTCP(t *testing.T, dsn string) *relay {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{dsn: fmt.Sprintf("postgresql://%s@%s/%s?sslmode=disable", cfg.User, listener.Addr(), cfg.Database)}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				continue
			}
			r.open.Add(1)
			over := sync.OnceFunc(func() {
				_, _ = client.Close(), server.Close()
				r.open.Add(-1)
			})
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				running.Go(func() {
					defer over()
					_, _ = io.Copy(way[0], way[1])
				})
			}
		}
	})
	return r
}

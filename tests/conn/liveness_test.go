//go:build unix

package conn_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A talker is a fake server whose first connection says something unasked, or hangs up, when the test wants it to.
type talker struct {
	*fakepg.Server
	db   *sql.DB
	tell chan func(*fakepg.Conn) // to do after the first exchange; the handler then answers as ever
	told chan struct{}
	conn net.Conn // the client's end of the first connection
}

// newTalker lets the first connection answer one exchange, which with inTx is the first of a transaction, and then
// waits for word.
func newTalker(t *testing.T, encrypted bool, exchanges int) *talker {
	t.Helper()
	return newTalkerThat(t, encrypted, exchanges, nil)
}

// newTalkerWith is newTalker whose first connection goes on with then.
func newTalkerWith(t *testing.T, encrypted bool, then func(*fakepg.Conn)) *talker {
	t.Helper()
	return newTalkerThat(t, encrypted, 1, then)
}

func newTalkerThat(t *testing.T, encrypted bool, exchanges int, then func(*fakepg.Conn)) *talker {
	t.Helper()
	k := &talker{tell: make(chan func(*fakepg.Conn), 1), told: make(chan struct{})}
	answer := func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} }
	sslmode, options := "disable", []fakepg.Option(nil)
	if encrypted {
		cert := newAuthority(t).issue(t)
		sslmode, options = "require", []fakepg.Option{
			fakepg.TLS(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}),
		}
	}
	k.Server = fakepg.Start(t, func(c *fakepg.Conn) {
		if c.ID() == 1 {
			for range exchanges {
				answerPlainly(c)
			}
			say, ok := <-k.tell
			if ok {
				func() {
					defer close(k.told)
					say(c)
				}()
				if then != nil {
					then(c)
				}
			}
		}
		c.Serve(answer)
	}, options...)
	t.Cleanup(func() { close(k.tell) }) // before the server waits for its handlers
	cfg, err := cockroachdb.ParseConfig(withSSLMode(k.Server, sslmode))
	require.NoError(t, err)
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if k.conn == nil {
			k.conn = conn
		}
		return conn, err
	}
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	k.db = sql.OpenDB(connector)
	t.Cleanup(func() { _ = k.db.Close() })
	k.db.SetMaxOpenConns(1)
	return k
}

// answerPlainly answers an exchange of a statement without columns, with or without BEGIN before it. What comes after
// that goes with it.
func answerPlainly(c *fakepg.Conn, after ...pgproto3.BackendMessage) {
	status, tag := byte('I'), ""
	for _, m := range c.ReceiveUntilSync() {
		switch m := m.(type) {
		case *pgproto3.Parse:
			if tag, _, _ = strings.Cut(m.Query, " "); tag == "BEGIN" {
				status = 'T'
			}
			if tag == "UPDATE" {
				tag = "UPDATE 1"
			}
			c.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Bind:
			c.Send(&pgproto3.BindComplete{})
		case *pgproto3.Describe:
			c.Send(&pgproto3.NoData{})
		case *pgproto3.Query:
			if strings.HasPrefix(m.String, "--") { // a ping, in a transaction
				status = 'T'
			}
			c.Send(&pgproto3.CommandComplete{CommandTag: []byte("UPDATE 1")})
		case *pgproto3.Execute:
			c.Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
		}
	}
	c.Send(&pgproto3.ReadyForQuery{TxStatus: status})
	c.Send(after...)
	c.Flush()
}

// says has the server do f, and waits until the client could read what it says.
func (k *talker) says(t *testing.T, f func(*fakepg.Conn)) {
	t.Helper()
	k.tell <- f
	<-k.told
	raw, err := k.conn.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return !errors.Is(err, syscall.EAGAIN)
	}))
}

func sendShutdown(c *fakepg.Conn) {
	c.Send(fakepg.Error("57P01", "server is shutting down")) // of severity ERROR
	c.Flush()
}

// rested is longer than a connection may be idle and not be looked at before it is used.
const rested = 2 * time.Millisecond

func hangUp(c *fakepg.Conn) { c.Close() }

func drain(c *fakepg.Conn) {
	sendShutdown(c)
	hangUp(c)
}

func bothModes(t *testing.T, f func(t *testing.T, encrypted bool)) {
	for name, encrypted := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, encrypted)
		})
	}
}

func TestLiveness_ServerLeftWhileIdle_IsNotUsed(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*fakepg.Conn){
		"closed":  hangUp,
		"drained": drain,
		"drained with a notice before": func(c *fakepg.Conn) {
			c.Send(&pgproto3.NoticeResponse{Severity: "NOTICE", Message: "soon"})
			sendShutdown(c)
			hangUp(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothModes(t, func(t *testing.T, encrypted bool) {
				k := newTalker(t, encrypted, 1)
				kit.Exec(t, k.db, "UPDATE a")
				k.says(t, leave)
				k.Forget()
				kit.Exec(t, k.db, "UPDATE a")
				assert.Equal(t, 2, k.Connections(), "another connection is used, and no error seen")
				assert.Equal(t, 1, k.RoundTrips())
				kit.Exec(t, k.db, "UPDATE a")
				assert.Equal(t, 2, k.Connections())
			})
		})
	}
}

// A transaction that could not go on, on another connection, is not begun on one that the server has closed, however
// short the rest was.
func TestLiveness_ServerLeftWhileIdle_WhatCanNotMoveIsNotBegunThere(t *testing.T) {
	t.Parallel()
	noRetries, noFailovers := cockroachdb.DefaultRetryPolicy(), cockroachdb.DefaultRetryPolicy()
	noRetries.MaxAttempts, noFailovers.MaxFailovers = 1, 0
	for name, c := range map[string]struct {
		ctx   context.Context
		first string
	}{
		"without retries":                   {cockroachdb.WithRetryPolicy(t.Context(), noRetries), "UPDATE a"},
		"without failovers":                 {cockroachdb.WithRetryPolicy(t.Context(), noFailovers), "UPDATE a"},
		"in a session with temporary state": {t.Context(), "CREATE TEMP TABLE a (i INT)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothModes(t, func(t *testing.T, encrypted bool) {
				k := newTalker(t, encrypted, 1)
				kit.Exec(t, k.db, c.first)
				k.says(t, drain)
				tx, err := k.db.BeginTx(c.ctx, nil)
				require.NoError(t, err)
				kit.Exec(t, tx, "UPDATE b")
				require.NoError(t, tx.Commit())
				assert.Equal(t, 2, k.Connections())
			})
		})
	}
}

// The error may come so soon after an answer that both are read together.
func TestLiveness_LastErrorReadWithAnAnswer_IsNotUsed(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, func(c *fakepg.Conn) {
		if c.ID() == 1 {
			c.ReceiveUntilSync()
			c.Send(&pgproto3.CommandComplete{CommandTag: []byte("UPDATE 1")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
			sendShutdown(c)
			c.Close()
		}
		c.Serve(func(fakepg.Statement) fakepg.Reply { return fakepg.Reply{} })
	})
	db := kit.Open(t, srv.DSN())
	db.SetMaxOpenConns(1)
	kit.Exec(t, db, "UPDATE a")
	kit.Exec(t, db, "UPDATE a")
	assert.Equal(t, 2, srv.Connections())
}

func TestLiveness_HarmlessMessages_KeepTheConnection(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]pgproto3.BackendMessage{
		"a notice":       &pgproto3.NoticeResponse{Severity: "NOTICE", Message: "look out"},
		"a notification": &pgproto3.NotificationResponse{Channel: "c", Payload: "p"},
		"a parameter":    &pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothModes(t, func(t *testing.T, encrypted bool) {
				k := newTalker(t, encrypted, 1)
				kit.Exec(t, k.db, "UPDATE a")
				k.says(t, func(c *fakepg.Conn) { c.Send(m); c.Flush() })
				k.Forget()
				time.Sleep(rested)
				kit.Exec(t, k.db, "UPDATE a")
				assert.Equal(t, 1, k.Connections())
				assert.Equal(t, 2, k.RoundTrips(), "one to ask what may follow it")
				time.Sleep(rested)
				kit.Exec(t, k.db, "UPDATE a")
				assert.Equal(t, 3, k.RoundTrips(), "once only")
			})
		})
	}
}

// A quiet connection is not asked anything.
func TestLiveness_NothingToRead_CostsNoRoundTrip(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, encrypted bool) {
		k := newTalker(t, encrypted, 0)
		k.tell <- func(*fakepg.Conn) {}
		for range 5 {
			kit.Exec(t, k.db, "UPDATE a")
			time.Sleep(rested)
		}
		assert.Equal(t, 5, k.RoundTrips())
		assert.Equal(t, 1, k.Connections())
	})
}

// Where the server has left before the commit is sent, it is certain that nothing is committed.
func TestLiveness_ServerLeftBeforeCommit_CommitsOnAnother(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*fakepg.Conn){
		"closed":  hangUp,
		"drained": drain,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothModes(t, func(t *testing.T, encrypted bool) {
				k := newTalker(t, encrypted, 1)
				tx, err := k.db.BeginTx(t.Context(), nil)
				require.NoError(t, err)
				kit.Exec(t, tx, "UPDATE a")
				k.says(t, leave)
				require.NoError(t, tx.Commit())
				assert.Equal(t, 2, k.Times("UPDATE a"), "on the other connection again")
				assert.Equal(t, 1, k.Times(kit.Release))
				assert.Equal(t, 2, k.Connections())
			})
		})
	}
}

// Why the server has left is in what Commit says, where the transaction can't go on, on another connection: it has
// ended this one on purpose, or failovers are switched off.
func TestCommit_ServerHasEndedTheConnection_SaysWhy(t *testing.T) {
	t.Parallel()
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxFailovers = 0
	for code, ctx := range map[string]context.Context{
		"25P03": t.Context(), "57P01": cockroachdb.WithRetryPolicy(t.Context(), policy),
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			bothModes(t, func(t *testing.T, encrypted bool) {
				k := newTalker(t, encrypted, 1)
				tx, err := k.db.BeginTx(ctx, nil)
				require.NoError(t, err)
				kit.Exec(t, tx, "UPDATE a")
				k.says(t, func(c *fakepg.Conn) {
					c.Send(kit.Fatal(code, "terminating connection").Err)
					c.Flush()
					c.Close()
				})
				err = tx.Commit()
				kit.As[*cockroachdb.ConnectionLostError](t, err)
				kit.WantCodeWithin(t, err, code)
				assert.Zero(t, k.Times(kit.Release))
				assert.Equal(t, 1, k.Times("UPDATE a"))
			})
		})
	}
}

// What the server has said right after an answer, and the client has read with it, is not lost with the connection.
func TestCommit_FarewellCameWithTheAnswer_SaysWhy(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, encrypted bool) {
		k := newTalker(t, encrypted, 0)
		answered := make(chan struct{})
		k.tell <- func(c *fakepg.Conn) {
			answerPlainly(c, kit.Fatal("25P03", "terminating connection").Err)
			<-answered
			c.Reset()
		}
		tx := kit.Begin(t, k.db)
		kit.Exec(t, tx, "UPDATE a")
		close(answered)
		<-k.told
		kit.WantCodeWithin(t, tx.Commit(), "25P03")
		assert.Equal(t, 1, k.Times("UPDATE a"))
		assert.Equal(t, 1, k.Connections())
	})
}

// A real server has its own time for transactions in which nothing happens.
func TestCommit_TransactionWasIdleForTooLong_SaysSo(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	admin := kit.Open(t, dsn)
	idle := kit.Open(t, dsn, "idle_in_transaction_session_timeout=20&application_name=idle")
	kit.Exec(t, admin, "CREATE TABLE t (id INT)")
	tx := kit.Begin(t, idle)
	kit.Exec(t, tx, "INSERT INTO t VALUES (1)")
	require.Eventually(t, func() bool {
		return kit.Scan[int](t, admin, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'idle'") == 0
	}, time.Minute, time.Millisecond)
	kit.WantCodeWithin(t, tx.Commit(), "25P03")
	assert.Zero(t, kit.Scan[int](t, admin, "SELECT count(*) FROM t"))
}

func TestLiveness_NoticeBeforeCommit_IsSent(t *testing.T) {
	t.Parallel()
	bothModes(t, func(t *testing.T, encrypted bool) {
		commit := make(chan int, 1)
		srv := newTalkerWith(t, encrypted, func(c *fakepg.Conn) {
			answerPlainly(c) // the ping
			commit <- len(c.ReceiveUntilSync())
			for _, tag := range []string{"COMMIT", "COMMIT"} { // RELEASE, then COMMIT
				c.Send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{},
					&pgproto3.CommandComplete{CommandTag: []byte(tag)})
			}
			c.Ready('I')
		})
		tx, err := srv.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		kit.Exec(t, tx, "UPDATE a")
		srv.says(t, func(c *fakepg.Conn) { c.Send(&pgproto3.NoticeResponse{Message: "look out"}); c.Flush() })
		require.NoError(t, tx.Commit())
		assert.Equal(t, 4+4+1, <-commit, "two statements of four messages, and Sync")
		assert.Equal(t, 3, srv.RoundTrips())
	})
}

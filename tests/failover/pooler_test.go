package failover_test

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What PgBouncer says before it hangs up, by whether the statement may have reached a server. All of it is FATAL 08P01.
var (
	serverLost = []string{"server conn crashed?", "server connection closed", "suspend_timeout"}
	noServer   = []string{
		"server shutting down", "query_wait_timeout",
		"server login has been failing, try again later (server_login_retry)",
		"server login has been failing, cached error: the database system is starting up (server_login_retry)",
	}
	wanted = []string{
		"query timeout", "idle transaction timeout", "database removed", "bad packet header",
		"transaction blocks not allowed in statement pooling mode",
	}
)

func TestPooler_HasLostTheServer_Unseen(t *testing.T) {
	t.Parallel()
	for _, word := range append(serverLost, noServer...) {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"UPDATE b": {kit.Fatal("08P01", word), kit.OK}})
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE a")
			kit.Exec(t, tx, "UPDATE b")
			require.NoError(t, tx.Commit())
			movedOnce(t, st, "UPDATE a", "UPDATE b")
		})
	}
}

func TestPooler_OtherReasonToHangUp_IsTold(t *testing.T) {
	t.Parallel()
	ofServer := kit.Fatal("08P01", "server conn crashed?")
	ofServer.Err.Routine = "ProcessClientReadInterrupt"
	replies := map[string]fakepg.Reply{
		"the server itself": ofServer, "no end": kit.Fails("08P01", "server conn crashed?"),
	}
	for _, word := range wanted {
		replies[word] = kit.Fatal("08P01", word)
	}
	for name, reply := range replies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{"UPDATE b": {reply, kit.OK}})
			tx := st.Begin(t)
			kit.Exec(t, tx, "UPDATE a")
			kit.WantCodeWithin(t, kit.ExecAll(tx, "UPDATE b"), "08P01")
			assert.Equal(t, 1, st.Times("UPDATE a"))
		})
	}
}

// A client without a server has sent nothing to one, and so even what may commit is run again.
func TestPooler_HasNoServer_WhatMayCommitIsRunElsewhere(t *testing.T) {
	t.Parallel()
	for _, word := range noServer {
		for _, sql := range []string{"UPDATE a", "CREATE TABLE t ()"} {
			t.Run(word+"/"+sql, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{sql: {kit.Fatal("08P01", word), kit.OK}})
				kit.Exec(t, st.DB, sql)
				assert.Equal(t, 2, st.Server.Connections())

				st = kit.New(t, kit.Script{sql: {kit.Fatal("08P01", word), kit.OK}})
				tx := st.Begin(t)
				kit.Exec(t, tx, sql)
				require.NoError(t, tx.Commit())
				movedOnce(t, st, sql)
			})
		}
	}
}

func TestPooler_HasNoServerForLong_SaysSo(t *testing.T) {
	t.Parallel()
	gone := kit.Always(kit.Fatal("08P01", "query_wait_timeout"))
	st := kit.New(t, kit.Script{"UPDATE a": gone}, "retry_max_failovers=2")
	for _, on := range []func() kit.Querier{
		func() kit.Querier { return st.DB }, func() kit.Querier { return st.Begin(t) },
	} {
		before := st.Server.Connections()
		err := kit.ExecAll(on(), "UPDATE a")
		kit.As[*cockroachdb.ConnectionLostError](t, err)
		kit.WantCodeWithin(t, err, "08P01")
		assert.LessOrEqual(t, st.Server.Connections(), before+3)
	}
}

// Where the server lets nobody in, PgBouncer turns all away at once, for as long as it does not try again itself.
func TestPooler_TurnsEverybodyAway_IsAskedUntilItHasAServer(t *testing.T) {
	t.Parallel()
	turned := slices.Repeat([]fakepg.Reply{kit.Fatal("08P01", noServer[2])}, 20)
	st := kit.New(t, kit.Script{"UPDATE a": append(turned, kit.OK)})
	kit.Exec(t, st.DB, "UPDATE a")
	assert.Equal(t, 21, st.Times("UPDATE a"))
}

// A login that the pooler refuses for want of a server is tried again, as long as connections have been well lately. To
// a client that it has not welcomed yet, the pooler passes on why the server refused it, with a SQLSTATE of its own.
func TestPooler_HasNoServerAtTheLogin_IsDialledAgain(t *testing.T) {
	t.Parallel()
	for _, word := range []string{noServer[2], "the database system is starting up"} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			refusals := 0 // still to come
			kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
				require.NoError(t, r.PingContext(t.Context()))
				kit.Conn(t, r.DB)
				refusals = 3
				kit.Exec(t, r.DB, "UPDATE a")
				assert.Zero(t, refusals)
				assert.Equal(t, 2, r.Connections())
			}, func(cfg *cockroachdb.Config) {
				dial := cfg.ConnConfig.DialFunc
				cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if refusals == 0 {
						return dial(ctx, network, addr)
					}
					refusals--
					return refusing(word), nil
				}
			})
		})
	}
}

// A pooler that has never had a server may be set up wrongly: that is told at once.
func TestPooler_HasNoServerAtTheFirstLogin_IsTold(t *testing.T) {
	t.Parallel()
	dials := 0
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		kit.WantCodeWithin(t, r.PingContext(t.Context()), "08P01")
		assert.Equal(t, 1, dials)
	}, func(cfg *cockroachdb.Config) {
		cfg.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			dials++
			return refusing(noServer[2]), nil
		}
	})
}

// refusing is a connection to a pooler that refuses the login.
func refusing(word string) net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		be := pgproto3.NewBackend(server, server)
		if _, err := be.ReceiveStartupMessage(); err == nil {
			be.Send(kit.Fatal("08P01", word).Err)
			_ = be.Flush() // a client that has gone does not need it
		}
	}()
	return client
}

package failover_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// While a cluster is upgraded its nodes have two versions.
func TestFailover_ToANodeOfAnotherVersion_Unseen(t *testing.T) {
	t.Parallel()
	const older, newer = "CockroachDB CCL v25.4.2", "CockroachDB CCL v26.2.0"
	for _, versions := range [][2]string{{older, newer}, {newer, older}} {
		for _, mode := range []string{"savepoint", "begin", "auto"} {
			t.Run(versions[1]+"/"+mode, func(t *testing.T) {
				t.Parallel()
				script := kit.Script{"UPDATE b": {{Cut: fakepg.CutBefore}, kit.OK}}
				first := fakepg.Start(t, fakepg.Answer(script.Reply), fakepg.Version(versions[0]))
				second := fakepg.Start(t, fakepg.Answer(kit.Script{}.Reply), fakepg.Version(versions[1]))
				at := first
				db := kit.Open(t, first.DSN(), func(cfg *cockroachdb.Config) {
					cfg.Restart = cockroachdb.RestartMode(mode)
					cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
						return at.Dial(ctx, network, addr)
					}
				})
				at = second
				tx := kit.Begin(t, db)
				kit.Exec(t, tx, "UPDATE a")
				kit.Exec(t, tx, "UPDATE b")
				require.NoError(t, tx.Commit())
				assert.Equal(t, 1, second.Times("UPDATE a"))
				assert.Equal(t, 1, second.Times("UPDATE b"))
			})
		}
	}
}

// A resolver gives the addresses of a name, which change.
type resolver struct {
	srv *fakepg.Server

	mu        sync.Mutex // the cancel request for a lost connection is dialled by a goroutine of pgx's
	addresses []string
	dialled   []string
}

const unreachable = "192.0.2.9"

func (r *resolver) lookup(context.Context, string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addresses, nil
}

// dial notes the addresses that were looked up.
func (r *resolver) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	if slices.Contains(r.addresses, host) {
		r.dialled = append(r.dialled, host)
	}
	r.mu.Unlock()
	if host == unreachable {
		return nil, errors.New("no route to host")
	}
	return r.srv.Dial(ctx, network, addr)
}

// changeTo returns what was dialled before.
func (r *resolver) changeTo(addresses ...string) (dialled []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dialled, r.dialled, r.addresses = r.dialled, nil, addresses
	return dialled
}

// A name is looked up for each dial, and all of its addresses are tried.
func TestFailover_AddressesOfTheNameHaveChanged_DialsTheNewOnes(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, fakepg.Answer(kit.Script{"UPDATE b": {{Cut: fakepg.CutBefore}, kit.OK}}.Reply))
	r := &resolver{srv: srv, addresses: []string{"192.0.2.1"}}
	db := kit.Open(t, srv.DSN(), func(cfg *cockroachdb.Config) {
		cfg.ConnConfig.Host, cfg.BalanceHosts = "db.invalid", false // in the order of the addresses
		cfg.ConnConfig.LookupFunc, cfg.ConnConfig.DialFunc = r.lookup, r.dial
	})
	tx := kit.Begin(t, db)
	kit.Exec(t, tx, "UPDATE a")
	assert.Equal(t, []string{"192.0.2.1"}, r.changeTo(unreachable, "2001:db8::1"))
	kit.Exec(t, tx, "UPDATE b")
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{unreachable, "2001:db8::1"}, r.changeTo())
}

// A node that has waited for long enough for its transactions cancels what they run, and says then why.
func TestFailover_StatementIsCancelledByADrain_Unseen(t *testing.T) {
	t.Parallel()
	const sql = "SELECT b WHERE v = $1"
	for _, mode := range kit.QueryModes {
		for _, before := range []string{"nothing", "a statement", "its description by another connection"} {
			t.Run(mode+", before it "+before, func(t *testing.T) {
				t.Parallel()
				srv := fakepg.Start(t, cancelled(2, "57P01"))
				db := kit.Open(t, srv.DSN()+"&default_query_exec_mode="+mode)
				other := kit.Conn(t, db)
				if before == "its description by another connection" {
					kit.Scan[int](t, other, sql, 1)
				}
				tx := kit.Begin(t, db)
				if before == "a statement" {
					kit.Exec(t, tx, "UPDATE a")
				}
				assert.Equal(t, 7, kit.Scan[int](t, tx, sql, 1))
				require.NoError(t, tx.Commit())
				assert.Equal(t, 3, srv.Connections())
			})
		}
	}
}

// Somebody who cancels a session ends it in the same way, but for the reason.
func TestFailover_SessionIsCancelled_IsTold(t *testing.T) {
	t.Parallel()
	srv := fakepg.Start(t, cancelled(1, ""))
	tx := kit.Begin(t, kit.Open(t, srv.DSN()))
	kit.Exec(t, tx, "UPDATE a")
	kit.WantCodeWithin(t, kit.ExecAll(tx, "SELECT b"), "57014")
	assert.Equal(t, 1, srv.Connections())
}

// cancelled answers the SELECT of a connection with 57014 in place of its rows, with another code in place of an end to
// the exchange, if there is one, and hangs up.
func cancelled(conn int, code string) func(*fakepg.Conn) {
	return func(c *fakepg.Conn) {
		hangUp := func(func([][]byte) bool) {
			c.Send(fakepg.Error("57014", "query execution canceled"))
			if code != "" {
				c.Send(fakepg.Error(code, "server is shutting down"))
			}
			c.Close()
		}
		c.Serve(func(st fakepg.Statement) fakepg.Reply {
			switch rows := kit.Ints(7); {
			case !strings.HasPrefix(st.SQL, "SELECT"):
				return kit.OK
			case st.Describing, st.Conn != conn:
				return rows
			default:
				return fakepg.Reply{Columns: rows.Columns, RowsFunc: hangUp}
			}
		})
	}
}

// A mute connection takes what is written. Once it is silent, reading finds out as a socket does of which nothing was
// acknowledged for the time of TCP_USER_TIMEOUT. In a bubble no time goes by until the server has read all there is.
type mute struct {
	net.Conn
	silent *atomic.Bool
}

func (m mute) Read(b []byte) (int, error) {
	if m.silent.Load() {
		time.Sleep(time.Millisecond)
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}
	}
	return m.Conn.Read(b)
}

// The transaction may still be open on a server that has fallen silent. It is asked to give up what it is at.
func TestFailover_ServerFallsSilent_IsAskedToCancel(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	kit.InBubble(t, kit.Script{"UPDATE b": {kit.Slow, kit.OK}}, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		kit.Exec(t, tx, "UPDATE a")
		silent.Store(true)
		kit.Exec(t, tx, "UPDATE b")
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, r.Times("UPDATE a"))
		assert.Equal(t, 1, r.Times(kit.Release))
		assert.Equal(t, 1.0, r.Counts(t)["abandoned_sessions_total"])
		time.Sleep(time.Minute) // the request goes out beside the transaction
		assert.Equal(t, 1, r.Cancels())
	}, silenceOfTheFirst(&silent), failsOver)
}

// silenceOfTheFirst has the first connection fall silent once the switch is on.
func silenceOfTheFirst(silent *atomic.Bool) func(*cockroachdb.Config) {
	return func(cfg *cockroachdb.Config) {
		dial := cfg.ConnConfig.DialFunc
		var dials atomic.Int32
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if dials.Add(1) == 1 {
				return mute{conn, silent}, err
			}
			return conn, err
		}
	}
}

var failsOver = kit.Policy(func(p *cockroachdb.RetryPolicy) { p.MaxFailovers = 3 })

// A server that has fallen silent may keep the transaction's locks.
func TestFailover_SilentServerKeepsLocks_WaitEndsWithinTheBounds(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]kit.Script{
		"in the statement": {"UPDATE b": {kit.Slow, {Delay: time.Hour}}},
		"in the replay":    {"UPDATE a": {kit.OK, {Delay: time.Hour}}, "UPDATE b": {kit.Slow}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var silent atomic.Bool
			kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
				began := time.Now()
				tx := r.Begin(t)
				kit.Exec(t, tx, "UPDATE a")
				silent.Store(true)
				err := kit.ExecAll(tx, "UPDATE b")
				var lost *cockroachdb.ConnectionLostError
				require.ErrorAs(t, err, &lost)
				require.ErrorContains(t, err, `the bound "elapsed" of its policy is reached`)
				assert.Equal(t, cockroachdb.DefaultRetryPolicy().MaxElapsed, time.Since(began).Truncate(time.Second))
				require.Error(t, tx.Commit())
				assert.Zero(t, r.Times(kit.Release))
				assert.Equal(t, 2.0, r.Counts(t)["abandoned_sessions_total"])
			}, silenceOfTheFirst(&silent), failsOver)
		})
	}
}

func TestFailover_SilentServerGivesLocksUp_NothingElseIsBounded(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	script := kit.Script{
		"UPDATE a": {kit.OK, {Delay: 20 * time.Second}}, "UPDATE b": {kit.Slow, {Delay: 20 * time.Second}},
		"UPDATE c": {{Delay: time.Hour}}, kit.Release: {{Delay: time.Hour}},
	}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		kit.Exec(t, tx, "UPDATE a")
		silent.Store(true)
		require.NoError(t, kit.ExecAll(tx, "UPDATE b", "UPDATE c"))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 1.0, r.Counts(t)["abandoned_sessions_total"])
	}, silenceOfTheFirst(&silent), failsOver)
}

// Nor is the commit, where the server falls silent in it. What has only read is committed again.
func TestFailover_SilentServerInCommit_SecondCommitIsWaitedFor(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	script := kit.Script{"SELECT v": kit.Always(kit.Ints(1)), kit.Release: {kit.Slow, {Delay: time.Hour}}}
	kit.InBubble(t, script, func(t *testing.T, r *kit.Rig) {
		tx := r.Begin(t)
		require.NoError(t, tx.QueryRow("SELECT v").Scan(new(int)))
		silent.Store(true)
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, r.Times("SELECT v"))
		assert.Equal(t, 1.0, r.Counts(t)["abandoned_sessions_total"])
	}, silenceOfTheFirst(&silent), failsOver)
}

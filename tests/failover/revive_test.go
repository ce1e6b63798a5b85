package failover_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// lostConn returns an sql.Conn of which the application was told that its connection is lost.
func lostConn(t *testing.T, st *kit.Rig, before ...string) *sql.Conn {
	c := kit.Conn(t, st.DB)
	for _, sql := range before {
		kit.Exec(t, c, sql)
	}
	_, err := c.ExecContext(t.Context(), "UPDATE lost")
	kit.As[*cockroachdb.AmbiguousCommitError](t, err)
	return c
}

// An sql.Conn is of use again after its connection was lost, whatever comes next.
func TestRevive_AfterALoss_GoesOnElsewhere(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(*testing.T, *sql.Conn){
		"statement": func(t *testing.T, c *sql.Conn) { kit.Exec(t, c, "UPDATE a") },
		"query": func(t *testing.T, c *sql.Conn) {
			assert.Equal(t, []string{"x"}, kit.Query(t, c, "SELECT v FROM t").MustRest())
		},
		"transaction": func(t *testing.T, c *sql.Conn) {
			tx, err := c.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			kit.Exec(t, tx, "UPDATE a")
			require.NoError(t, tx.Commit())
		},
		"prepared statement": func(t *testing.T, c *sql.Conn) {
			stmt, err := c.PrepareContext(t.Context(), "UPDATE a")
			require.NoError(t, err)
			_, err = stmt.ExecContext(t.Context())
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, kit.Script{
				"UPDATE lost": {{Cut: fakepg.CutAfter}}, "SELECT v FROM t": {kit.Texts("x")},
			})
			c := lostConn(t, st, "SET application_name = 'mine'")
			next(t, c)
			assert.Equal(t, 2, st.Server.Connections())
			assert.Equal(t, 1, st.Server.Times("UPDATE lost"))
			assert.Equal(t, 2, st.Server.Times("SET application_name = 'mine'"), "what was set is set again")

			st.Disconnect() // at rest
			next(t, c)
			assert.Equal(t, 3, st.Server.Connections())
		})
	}
}

func TestRevive_Ping_GoesOnElsewhere(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"UPDATE lost": {{Cut: fakepg.CutAfter}}})
	c := lostConn(t, st)
	require.NoError(t, c.PingContext(t.Context()))
	kit.Exec(t, c, "UPDATE a")
	assert.Equal(t, 2, st.Server.Connections())

	st.Disconnect() // at rest
	require.NoError(t, c.PingContext(t.Context()))
	kit.Exec(t, c, "UPDATE a")
	assert.Equal(t, 3, st.Server.Connections())
}

// Where something ties the application to its session, or it wants no retries, its sql.Conn is closed, as by pgx.
func TestRevive_TiedToTheSession_IsABadConnection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before []string
		ctx    func(context.Context) context.Context
	}{
		"a lock of the session":       {before: []string{"SELECT pg_advisory_lock(1)"}},
		"a temporary table":           {before: []string{"CREATE TEMP TABLE t (k INT)"}},
		"a statement without retries": {ctx: cockroachdb.WithoutRetries},
	} {
		for what, next := range map[string]func(context.Context, *sql.Conn) error{
			"statement": func(ctx context.Context, c *sql.Conn) error {
				_, err := c.ExecContext(ctx, "UPDATE a")
				return err
			},
			"transaction": func(ctx context.Context, c *sql.Conn) error {
				_, err := c.BeginTx(ctx, nil)
				return err
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{"UPDATE lost": {{Cut: fakepg.CutAfter}}})
				c, ctx := lostConn(t, st, test.before...), t.Context()
				if test.ctx != nil {
					ctx = test.ctx(ctx)
				}
				require.ErrorIs(t, next(ctx, c), driver.ErrBadConn)
				assert.Equal(t, 1, st.Server.Connections())
			})
		}
	}
}

// A server that is away for longer than the policy waits is not the end of an sql.Conn.
func TestRevive_NoServer_SaysWhyAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	away, isAway := errors.New("the network is away"), atomic.Bool{}
	st := kit.New(t, kit.Script{"UPDATE lost": {{Cut: fakepg.CutAfter}}}, func(cfg *cockroachdb.Config) {
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if isAway.Load() {
				return nil, away
			}
			return dial(ctx, network, addr)
		}
	})
	c := lostConn(t, st)
	isAway.Store(true)
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxElapsed = 10 * time.Millisecond
	_, err := c.ExecContext(cockroachdb.WithRetryPolicy(t.Context(), policy), "UPDATE a")
	kit.As[*cockroachdb.ConnectionLostError](t, err)
	require.ErrorIs(t, err, away)
	isAway.Store(false)
	kit.Exec(t, c, "UPDATE a")
}

// A session that can't be as the lost one was is the end of an sql.Conn.
func TestRevive_NewSessionIsAnother_IsTheEnd(t *testing.T) {
	t.Parallel()
	connections := 0
	st := kit.New(t, kit.Script{"UPDATE lost": {{Cut: fakepg.CutAfter}}}, func(cfg *cockroachdb.Config) {
		cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
			if connections++; connections > 1 {
				cc.RuntimeParams["TimeZone"] = "Europe/Rome" // which the server reports
			}
			return nil
		}
	})
	c := lostConn(t, st)
	_, err := c.ExecContext(t.Context(), "UPDATE a")
	require.ErrorContains(t, kit.As[*cockroachdb.ConnectionLostError](t, err), "another TimeZone")
	require.ErrorIs(t, err, driver.ErrBadConn)
	_, err = c.ExecContext(t.Context(), "UPDATE a")
	require.ErrorIs(t, err, sql.ErrConnDone)
}

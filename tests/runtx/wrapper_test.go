package runtx_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

func TestRunTx_ThroughAWrapperThatDetachesContexts_BelievesTheServer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		release []fakepg.Reply
		ok      bool
	}{
		"committed":          {[]fakepg.Reply{kit.OK}, true},
		"lost every time":    {[]fakepg.Reply{kit.Conflict}, false},
		"lost, and then not": {[]fakepg.Reply{kit.Conflict, kit.OK}, true},
		"refused":            {[]fakepg.Reply{kit.Fails("23505", "refused")}, false},
		"not answered":       {[]fakepg.Reply{{Cut: fakepg.CutBefore}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{
				readKV: {kit.Texts("a"), kit.Texts("b")}, kit.Release: kit.Always(tc.release...),
			}, "retry_max_attempts=3")
			db := sql.OpenDB(detaching{r.Connector})
			defer db.Close()
			ctx := cockroachdb.WithRetryPolicy(t.Context(), r.Config.RetryPolicy)
			err := cockroachdb.RunTx(ctx, db, nil, func(tx *sql.Tx) error {
				var v string
				if err := tx.QueryRowContext(ctx, readKV).Scan(&v); err != nil {
					return err
				}
				return kit.ExecAll(tx, "UPDATE kv SET v = '"+v+"'")
			})
			assert.Equal(t, tc.ok, err == nil, "%v; %q", err, r.Sent())
		})
	}
}

// On CockroachDB with autocommit_before_ddl, DDL commits what is open, and itself.
func TestRunTx_WithDDLThatCommits_Succeeds(t *testing.T) {
	t.Parallel()
	for _, ddl := range []string{
		"CREATE TABLE x ()", "ALTER TABLE x ADD y INT", "DROP TABLE x", "CREATE TABLE x AS SELECT 1", "TRUNCATE x",
		"GRANT SELECT ON x TO y",
	} {
		r := kit.New(t, kit.Script{ddl: {{EndsTx: true}}})
		require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error { return kit.ExecAll(tx, ddl) }),
			ddl)
		assert.Equal(t, 1, r.Times(ddl))
	}
}

// A driver around this one may give statements a context of its own, without RunTx's order in it.
type detaching struct{ driver.Connector }

func (d detaching) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return detachedConn{c.(kit.DriverConn)}, nil
}

type detachedConn struct{ kit.DriverConn }

func (c detachedConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.DriverConn.ExecContext(context.Background(), query, args)
}

func (c detachedConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.DriverConn.QueryContext(context.Background(), query, args)
}

// openOnly is a driver around this one that knows Open alone.
type openOnly struct{ driver.Driver }

func init() { sql.Register("open only", openOnly{&cockroachdb.Driver{}}) }

// Two transactions of a pool lose, and the first stays open: the second waits for its turn.
func TestWrapper_ThatKnowsOpenAlone_SharesTheLane(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{"UPDATE a": {kit.Conflict, kit.OK}, "UPDATE b": {kit.Conflict, kit.OK}})
	db := kit.OpenBy(t, "open only", r.DSN()+"&retry_lane_wait=1h&retry_max_elapsed=2h")
	first := kit.Begin(t, db)
	require.NoError(t, kit.ExecAll(first, "UPDATE a"))
	second := kit.Begin(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := second.ExecContext(ctx, "UPDATE b")
	require.ErrorIs(t, err, context.DeadlineExceeded, "it has a lane of its own")
}

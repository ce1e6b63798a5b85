package conn_test

import (
	"context"
	"database/sql"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// memory is for how long the network of these tests keeps a flow in which nothing is said: then a balancer has
// forgotten it, or the server has closed it.
const memory = 1100 * time.Millisecond

// A flow is a connection that is not the network's own type, so its socket can't be looked at. Once it is gone, what is
// written is taken all the same, and only reading tells.
type flow struct {
	net.Conn
	end error // what reading says then

	mu   sync.Mutex
	gone bool
	used time.Time
}

func (f *flow) Write(b []byte) (int, error) {
	if f.isGone(time.Now()) {
		return len(b), nil
	}
	return f.Conn.Write(b)
}

func (f *flow) Read(b []byte) (int, error) {
	if f.isGone(time.Time{}) {
		return 0, f.end
	}
	return f.Conn.Read(b)
}

// isGone reports whether the flow is gone; used is when it is used again, or zero.
func (f *flow) isGone(used time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !used.IsZero() {
		f.gone = f.gone || used.Sub(f.used) > memory
		f.used = used
	}
	return f.gone
}

// byFlow dials flows with that end.
func byFlow(end error) func(*cockroachdb.Config) {
	return func(cfg *cockroachdb.Config) {
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &flow{Conn: conn, end: end, used: time.Now()}, err
		}
	}
}

// calls are what an application may do first on a connection that has rested.
var calls = map[string]func(context.Context, *sql.DB) error{
	"Exec": func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "UPDATE a")
		return err
	},
	"with an argument": func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "UPDATE a SET v = $1", "x")
		return err
	},
	"a text of several": func(ctx context.Context, db *sql.DB) error {
		_, err := db.ExecContext(ctx, "UPDATE a; UPDATE b")
		return err
	},
	"Query": func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, "UPDATE a")
		if err != nil {
			return err
		}
		return rows.Close()
	},
	"a transaction": func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, "UPDATE a"); err != nil {
			return err
		}
		return tx.Commit()
	},
}

// A look at the socket sees nothing of what a balancer has forgotten, and nothing at all through a net.Conn that is not
// the network's. After a second of rest there is a ping in its place, before what may be run only once.
func TestRest_FlowIsGone_StatementRunsOnAnother(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]error{"forgotten": syscall.ECONNRESET, "closed by the server": io.EOF} {
		for what, call := range calls {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
					require.NoError(t, r.PingContext(t.Context()))
					time.Sleep(1200 * time.Millisecond)
					require.NoError(t, call(t.Context(), r.DB))
					assert.Equal(t, 2, r.Connections())
					assert.LessOrEqual(t, r.Ran("UPDATE a")+r.Ran("UPDATE a SET v = $1"), 1)
				}, byFlow(end))
			})
		}
	}
}

// Without a ping the statement is sent, and nobody knows what became of it.
func TestRest_PingsSwitchedOff_OutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
		require.NoError(t, r.PingContext(t.Context()))
		time.Sleep(1200 * time.Millisecond)
		kit.As[*cockroachdb.AmbiguousCommitError](t, calls["Exec"](t.Context(), r.DB))
		require.NoError(t, calls["Exec"](t.Context(), r.DB))
	}, byFlow(syscall.ECONNRESET), "ping_after=0s")
}

// A ping costs a round trip, so there is one only after as long a rest as ping_after says.
func TestRest_PingAfter_CostsARoundTripThen(t *testing.T) {
	t.Parallel()
	for params, after := range map[string]time.Duration{"": time.Second, "ping_after=1h": time.Hour, "ping_after=0s": 0} {
		kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
			for rest, pings := range map[time.Duration]int{after - 1: 0, after: 1, 100 * time.Hour: 1} {
				require.NoError(t, r.PingContext(t.Context()))
				time.Sleep(rest)
				before := r.RoundTrips()
				kit.Exec(t, r.DB, "UPDATE a")
				if after == 0 {
					pings = 0
				}
				assert.Equal(t, before+1+pings, r.RoundTrips(), "after %v of rest, with %q", rest, params)
			}
			assert.Equal(t, 1, r.Connections())
		}, params)
	}
}

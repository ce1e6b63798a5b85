package kit

import (
	"database/sql"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A Rig is a fake server and a pool on it, with metrics of its own.
type Rig struct {
	Pool
	*fakepg.Server
	Registry *prometheus.Registry
	Started  time.Time

	probes int
}

// New starts a server on loopback and a pool of one connection to it, which is open and retries without waits. Options
// are [fakepg.Option]s, functions that change the Config, and parameters of a DSN.
func New(t testing.TB, s Script, options ...any) *Rig {
	t.Helper()
	return Answering(t, s.Reply, options...)
}

// Answering is [New] with a function in place of a Script.
func Answering(t testing.TB, answer func(fakepg.Statement) fakepg.Reply, options ...any) *Rig {
	t.Helper()
	return Serving(t, fakepg.Answer(answer), options...)
}

// Serving is [New] with a function that serves a connection in place of a Script.
func Serving(t testing.TB, serve func(*fakepg.Conn), options ...any) *Rig {
	t.Helper()
	r := start(t, serve, append([]any{NoWaits}, options...))
	r.SetMaxOpenConns(1)
	require.NoError(t, r.PingContext(t.Context()))
	r.Forget()
	return r
}

// InBubble runs test in a testing/synctest bubble, where time is virtual and what nobody ends fails the test, with a
// server in memory and a pool of any number of connections to it. Lost connections are not replaced. A text that
// begins with "UPDATE hold" loses the first time. Options are as for [New].
func InBubble(t *testing.T, s Script, test func(t *testing.T, r *Rig), options ...any) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, fakepg.Answer(func(st fakepg.Statement) fakepg.Reply {
			if s[st.SQL] == nil && st.Nth == 1 && strings.HasPrefix(st.SQL, holds) {
				return Conflict
			}
			return s.Reply(st)
		}), append([]any{fakepg.InMemory(), NoFailover, NoLifetime}, options...))
		r.SetMaxIdleConns(50)
		test(t, r)
	})
}

func start(t testing.TB, serve func(*fakepg.Conn), options []any) *Rig {
	t.Helper()
	r := &Rig{Started: time.Now(), Registry: prometheus.NewPedanticRegistry()}
	var ofServer []fakepg.Option
	for _, o := range options {
		if o, ok := o.(fakepg.Option); ok {
			ofServer = append(ofServer, o)
		}
	}
	r.Server = fakepg.Start(t, serve, ofServer...)
	r.Pool = newPool(t, Config(t, r.DSN(), append([]any{Reaching(r.Server), Counted}, options...)...))
	r.Registry.MustRegister(r.Config.Metrics)
	return r
}

// WantUsable asserts that the lane is free, no connection is held, one is enough to go on, and no gauge is left up. It
// is for [InBubble].
func (r *Rig) WantUsable(t testing.TB) {
	t.Helper()
	r.WantFreeLane(t)
	assert.Zero(t, r.Stats().InUse)
	r.SetMaxOpenConns(1)
	defer r.SetMaxOpenConns(0)
	WantUsable(t, r.DB)
	counts := r.Counts(t)
	assert.Zero(t, counts["history_bytes"])
	assert.Zero(t, counts["retry_lane_waiting"])
}

// WantEnded rolls back a transaction that has failed and asserts what [Rig.WantKept] does.
func (r *Rig) WantEnded(t testing.TB, tx *sql.Tx) {
	t.Helper()
	rollback(t, tx)
	r.WantKept(t)
}

// WantKept asserts that the server's transaction has ended, at this moment and not when the connection is next used,
// and that the connection is the first.
func (r *Rig) WantKept(t testing.TB) {
	t.Helper()
	all := r.Sent()
	require.NotEmpty(t, all)
	assert.Contains(t, []string{"ROLLBACK", "COMMIT"}, all[len(all)-1],
		"the server's transaction must have ended: %q", r.Statements())
	Exec(t, r, "UPDATE afterwards")
	assert.Equal(t, 1, r.Connections(), "the connection was thrown away")
}

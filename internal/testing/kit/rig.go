package kit

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A Rig is a fake server and a pool on it, with metrics of its own.
type Rig struct {
	*sql.DB
	*fakepg.Server
	Connector *cockroachdb.Connector // of the DB
	Config    *cockroachdb.Config
	Registry  *prometheus.Registry
	Started   time.Time

	mu     sync.Mutex
	ran    []string
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
	r := start(t, answer, append([]any{NoWaits}, options...))
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
		r := start(t, func(st fakepg.Statement) fakepg.Reply {
			if s[st.SQL] == nil && st.Nth == 1 && strings.HasPrefix(st.SQL, holding) {
				return Conflict
			}
			return s.Reply(st)
		}, append([]any{fakepg.InMemory(), NoFailover, NoLifetime}, options...))
		r.SetMaxIdleConns(50)
		test(t, r)
	})
}

const holding = "UPDATE hold"

func start(t testing.TB, answer func(fakepg.Statement) fakepg.Reply, options []any) *Rig {
	t.Helper()
	r := &Rig{Started: time.Now(), Registry: prometheus.NewPedanticRegistry()}
	var serverOptions []fakepg.Option
	var params []string
	var changes []func(*cockroachdb.Config)
	for _, o := range options {
		switch o := o.(type) {
		case fakepg.Option:
			serverOptions = append(serverOptions, o)
		case string:
			params = append(params, strings.TrimPrefix(o, "&"))
		case func(*cockroachdb.Config):
			changes = append(changes, o)
		}
	}
	r.Server = fakepg.Start(t, fakepg.Answer(func(st fakepg.Statement) fakepg.Reply {
		if !st.Describing {
			r.mu.Lock()
			r.ran = append(r.ran, Short(st.SQL))
			r.mu.Unlock()
		}
		return answer(st)
	}), serverOptions...)
	r.Config = ConfigFor(t, r.Server, strings.Join(params, "&"))
	r.Config.Metrics = cockroachdb.NewMetrics()
	for _, change := range changes {
		change(r.Config)
	}
	r.Registry.MustRegister(r.Config.Metrics)
	r.Connector, r.DB = r.OpenPool(t)
	return r
}

// OpenPool opens one more pool, with a lane and a throttle of its own.
func (r *Rig) OpenPool(t testing.TB) (*cockroachdb.Connector, *sql.DB) {
	t.Helper()
	connector := NewConnector(t, r.Config)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return connector, db
}

// Begin begins a transaction, which is rolled back at the end of the test.
func (r *Rig) Begin(t testing.TB) *sql.Tx {
	t.Helper()
	return Begin(t, r.DB)
}

// BeginIn begins a transaction in ctx.
func (r *Rig) BeginIn(t testing.TB, ctx context.Context) *sql.Tx {
	t.Helper()
	tx, err := r.DB.BeginTx(ctx, nil)
	require.NoError(t, err)
	return tx
}

// Sent lists the statements that the server was sent, in order, with those that it skipped after an error.
func (r *Rig) Sent() []string { return Sent(r.Server) }

// LastAttempt lists the application's statements since the last restart, without the opening and the commit.
func (r *Rig) LastAttempt() []string {
	var attempt []string
	for _, sql := range r.Sent() {
		switch {
		case sql == RollbackTo, strings.HasPrefix(sql, "BEGIN"):
			attempt = nil
		case sql == Savepoint, sql == Release, sql == "COMMIT", sql == "ROLLBACK":
		default:
			attempt = append(attempt, sql)
		}
	}
	return attempt
}

// Ran lists what the server ran, in order and each text by its [Short] form.
func (r *Rig) Ran() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ran)
}

// Times is how often a text was run.
func (r *Rig) Times(text string) int { return count(r.Ran(), text) }

var shortNames = strings.NewReplacer(RollbackTo, "ROLLBACK TO", Release, "RELEASE", Savepoint, "SAVEPOINT")

// Short leaves out the name of the restart savepoint.
func Short(sql string) string { return shortNames.Replace(sql) }

// Trips lists the round trips of a connection: "Describe X" of a text without a name, "Parse X" under a name, what is
// executed, and "Query X" for the simple protocol.
func (r *Rig) Trips(conn int) []string {
	texts, portal := map[string]string{}, ""
	var all []string
	for _, messages := range r.OfConn(conn) {
		var parts []string
		for _, m := range messages {
			kind, rest, _ := strings.Cut(m, " ")
			switch kind {
			case "Parse":
				name, text, _ := strings.Cut(strings.TrimPrefix(rest, "name="), " sql=")
				texts[name] = text
				if name != "" {
					parts = append(parts, "Parse "+text)
				}
			case "Describe":
				if rest == "S" || rest == "S " {
					parts = append(parts, "Describe "+texts[""])
				}
			case "Bind":
				name, _, _ := strings.Cut(strings.TrimPrefix(rest, "stmt="), " ")
				portal = texts[name]
			case "Execute":
				parts = append(parts, Short(portal))
			case "Query":
				parts = append(parts, m)
			}
		}
		all = append(all, strings.Join(parts, "; "))
	}
	return all
}

// HoldLane has a transaction enter the lane, and stay.
func (r *Rig) HoldLane(t testing.TB) *sql.Tx {
	t.Helper()
	tx := r.BeginIn(t, t.Context())
	require.NoError(t, ExecAll(tx, holding))
	return tx
}

// WantFreeLane asserts that a transaction which lost enters the lane at once: it goes back to its savepoint and waits
// for nothing.
func (r *Rig) WantFreeLane(t testing.TB) {
	t.Helper()
	r.probes++
	probe := fmt.Sprintf("%s, probe %d", holding, r.probes)
	tx := r.BeginIn(t, t.Context())
	before := time.Now()
	assert.NoError(t, ExecAll(tx, probe))
	assert.Zero(t, time.Since(before), "it had to wait for the lane")
	assert.NoError(t, tx.Commit())
	ran := r.Ran()
	at := slices.Index(ran, probe)
	require.GreaterOrEqual(t, at, 0)
	if next := ran[at+1:]; next[0] != "ROLLBACK TO" {
		assert.Equal(t, []string{"ROLLBACK", "BEGIN", probe}, next[:3], "without a wait between, as on a plain PostgreSQL")
	}
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

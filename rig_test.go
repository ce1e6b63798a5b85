package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// Replies of a script.
var (
	success = fakepg.Reply{}
	aborted = fakepg.Reply{Err: fakepg.Aborted()}
	cutOff  = fakepg.Reply{Cut: fakepg.CutUnsent}
)

func refused(code, message string) fakepg.Reply {
	return fakepg.Reply{Err: fakepg.Error(code, message)}
}

// numbers is the reply of one column of integers.
func numbers(values ...int64) fakepg.Reply {
	r := fakepg.Reply{Columns: []fakepg.Column{{Name: "v", OID: pgtype.Int8OID}}, Values: [][]any{}}
	for _, v := range values {
		r.Values = append(r.Values, []any{v})
	}
	return r
}

// columnsOf is what a Describe of r is answered.
func columnsOf(r fakepg.Reply) fakepg.Reply {
	return fakepg.Reply{Columns: r.Columns, ParamOIDs: r.ParamOIDs}
}

// script gives a text its replies, by how many times the server has run it; the last one goes on, but not if it is an error or
// a cut. A text that begins with "UPDATE hold" or "UPDATE probe" loses the first time.
type script map[string][]fakepg.Reply

func (s script) reply(st fakepg.Statement) fakepg.Reply {
	replies, scripted := s[st.SQL]
	switch {
	case st.Describing && len(replies) > 0 && replies[0].ErrAt == fakepg.AtParse:
		return replies[0]
	case st.Describing && len(replies) > 0:
		return columnsOf(replies[0])
	case st.Describing:
	case scripted && st.Nth <= len(replies):
		return replies[st.Nth-1]
	case scripted && len(replies) > 0 && replies[len(replies)-1].Err == nil && replies[len(replies)-1].Cut == fakepg.NoCut:
		return replies[len(replies)-1]
	case !scripted && st.Nth == 1 && (strings.HasPrefix(st.SQL, "UPDATE hold") || strings.HasPrefix(st.SQL, "UPDATE probe")):
		return lost
	}
	return success
}

// A rig is a pool on a server in memory, both in a synctest bubble: time is virtual, and what nobody ends fails the test.
type rig struct {
	*fakepg.Server
	db        *sql.DB
	connector *cockroachdb.Connector // the db's
	cfg       *cockroachdb.Config
	registry  *prometheus.Registry
	started   time.Time

	mu     sync.Mutex
	ran    []string // the statements, in order
	probes int
}

// inBubble makes a rig and runs test with it.
func inBubble(t *testing.T, s script, test func(t *testing.T, r *rig), options ...any) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t, s, options...)) })
}

// plainPostgreSQL is an option of newRig.
var plainPostgreSQL = fakepg.PlainPostgreSQL()

// newRig takes fakepg.Options, functions that change the Config, and a DSN's query.
func newRig(t *testing.T, s script, options ...any) *rig {
	t.Helper()
	r := &rig{started: time.Now(), registry: prometheus.NewPedanticRegistry()}
	serverOptions, query := []fakepg.Option{fakepg.InMemory()}, ""
	for _, o := range options {
		switch o := o.(type) {
		case fakepg.Option:
			serverOptions = append(serverOptions, o)
		case string:
			query = o
		}
	}
	r.Server = fakepg.Start(t, fakepg.Answer(func(st fakepg.Statement) fakepg.Reply {
		if !st.Describing {
			r.mu.Lock()
			r.ran = append(r.ran, short(st.SQL))
			r.mu.Unlock()
		}
		return s.reply(st)
	}), serverOptions...)
	var err error
	r.cfg, err = cockroachdb.ParseConfig(r.DSN() + query) // which has a '?' already
	require.NoError(t, err)
	r.cfg.ConnConfig.DialFunc, r.cfg.ConnConfig.LookupFunc = r.Dial, r.Lookup
	r.cfg.Metrics = cockroachdb.NewMetrics()
	r.cfg.ConnLifetime = 0 // virtual time goes on by hours
	noFailover(r.cfg)      // these tests are of what the application is told
	for _, o := range options {
		if change, ok := o.(func(*cockroachdb.Config)); ok {
			change(r.cfg)
		}
	}
	r.registry.MustRegister(r.cfg.Metrics)
	r.connector, r.db = r.pool(t)
	return r
}

// pool opens one more pool, with a lane and a throttle of its own.
func (r *rig) pool(t *testing.T) (*cockroachdb.Connector, *sql.DB) {
	t.Helper()
	connector, err := cockroachdb.NewConnector(r.cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(50)
	t.Cleanup(func() { _ = db.Close() })
	return connector, db
}

// withPolicy is an option of newRig that changes the default policy.
func withPolicy(change func(*cockroachdb.RetryPolicy)) func(*cockroachdb.Config) {
	return func(c *cockroachdb.Config) { change(&c.RetryPolicy) }
}

var shortNames = strings.NewReplacer(
	"ROLLBACK TO SAVEPOINT cockroach_restart", "ROLLBACK TO",
	"RELEASE SAVEPOINT cockroach_restart", "RELEASE",
	"SAVEPOINT cockroach_restart", "SAVEPOINT")

// short leaves out the name of the restart savepoint.
func short(sql string) string { return shortNames.Replace(sql) }

// trips lists the round trips of a connection: "Describe X" of a text without a name, "Parse X" under a name, what is
// executed, and "Query X" for the simple protocol.
func (r *rig) trips(conn int) []string {
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
				parts = append(parts, short(portal))
			case "Query":
				parts = append(parts, m)
			}
		}
		all = append(all, strings.Join(parts, "; "))
	}
	return all
}

// times is how often a text was run.
func (r *rig) times(text string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sql := range r.ran {
		if sql == text {
			n++
		}
	}
	return n
}

func (r *rig) begin(t testing.TB, ctx context.Context) *sql.Tx {
	t.Helper()
	tx, err := r.db.BeginTx(ctx, nil)
	require.NoError(t, err)
	return tx
}

func execAll(on executor, texts ...string) error {
	for _, text := range texts {
		if _, err := on.ExecContext(context.Background(), text); err != nil {
			return err
		}
	}
	return nil
}

// holdLane has a transaction enter the lane, and stay.
func (r *rig) holdLane(t testing.TB) *sql.Tx {
	t.Helper()
	tx := r.begin(t, t.Context())
	require.NoError(t, execAll(tx, "UPDATE hold"))
	return tx
}

// laneIsFree asserts that a transaction which lost enters the lane at once: it goes back to its savepoint and waits for nothing.
func (r *rig) laneIsFree(t testing.TB) {
	t.Helper()
	r.probes++
	probe := fmt.Sprintf("UPDATE probe %d", r.probes)
	tx := r.begin(t, t.Context())
	before := time.Now()
	assert.NoError(t, execAll(tx, probe))
	assert.Zero(t, time.Since(before), "it had to wait for the lane")
	assert.NoError(t, tx.Commit())
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.IndexFunc(r.ran, func(sql string) bool { return sql == probe })
	require.GreaterOrEqual(t, at, 0)
	if next := r.ran[at+1:]; next[0] != "ROLLBACK TO" {
		assert.Equal(t, []string{"ROLLBACK", "BEGIN", probe}, next[:3], "without a wait between, as on a plain PostgreSQL")
	}
}

// usable asserts that no connection is held and that one is enough to go on, and that no gauge is left up.
func (r *rig) usable(t testing.TB) {
	t.Helper()
	r.laneIsFree(t)
	assert.Zero(t, r.db.Stats().InUse)
	r.db.SetMaxOpenConns(1)
	defer r.db.SetMaxOpenConns(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := r.db.ExecContext(ctx, "UPDATE afterwards")
	assert.NoError(t, err)
	tx := r.begin(t, ctx)
	assert.NoError(t, execAll(tx, "UPDATE afterwards"))
	assert.NoError(t, tx.Commit())
	counts := r.counts(t)
	assert.Zero(t, counts["history_bytes"])
	assert.Zero(t, counts["retry_lane_waiting"])
}

// counts gives every series by name and label values, such as "transactions_total committed"; a histogram is its count and sum.
func (r *rig) counts(t testing.TB) map[string]float64 {
	t.Helper()
	families, err := r.registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "cockroachdb_") + labelValues(m)
			switch {
			case m.GetHistogram() != nil:
				all[name+" count"] = float64(m.GetHistogram().GetSampleCount())
				all[name+" sum"] = m.GetHistogram().GetSampleSum()
			default:
				all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return all
}

func labelValues(m *dto.Metric) (text string) {
	for _, pair := range m.GetLabel() {
		if pair.GetName() != "db_name" {
			text += " " + pair.GetValue()
		}
	}
	return text
}

// moved is what has changed since before.
func (r *rig) moved(t testing.TB, before map[string]float64) map[string]float64 {
	t.Helper()
	now := r.counts(t)
	maps.DeleteFunc(now, func(name string, v float64) bool { return v == before[name] })
	for name, v := range now {
		now[name] = v - before[name]
	}
	return now
}

// stateOf is the SQLSTATE of a server's error in err, by the way that loops like cockroach-go's look for it.
func stateOf(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

// bareConflict asserts that err is the server's own, not wrapped by anything.
func bareConflict(t testing.TB, err error) {
	t.Helper()
	pgErr, ok := err.(*pgconn.PgError) //nolint:errorlint // by itself, as ORMs look for it
	if assert.Truef(t, ok, "%T: %v", err, err) {
		assert.Equal(t, "40001", pgErr.Code)
	}
}

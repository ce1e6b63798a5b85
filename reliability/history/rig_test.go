package history_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/reliability/history"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// A rig is a pool of connections through the driver to a server that fails when it is told to.
type rig struct {
	*testing.T
	sim    *crdbsim.Sim     // nil on a real CockroachDB; the first node of a cluster
	nodes  *crdbsim.Cluster // nil for one node
	db     *sql.DB
	counts *prometheus.Registry
	commit string // what a commit begins with
	lost   crdbsim.Error

	mu     sync.Mutex
	faults []*crdbsim.Fault // that have to strike
}

// servers are the two that the driver treats differently.
var servers = map[string]crdbsim.Config{"CockroachDB": {}, "PostgreSQL": {PostgreSQL: true}}

const (
	clusterSize  = 3
	healthChecks = 20 * time.Millisecond // of the balancer
	mostAfter    = 30                    // transactions between two outages
)

// postgres names, in the environment, a PostgreSQL to share: package mutants does not want to wait for one of each
// run's own.
const postgres = "HISTORY_POSTGRES"

// database is the DSN of a database for all tests, straight to the server.
var database = sync.OnceValue(enginetest.DSN)

// newRig makes a rig in a schema of its own.
func newRig(t *testing.T, cfg crdbsim.Config) *rig {
	t.Helper()
	r := &rig{T: t, counts: prometheus.NewRegistry(), commit: "^release", lost: crdbsim.Conflict("RETRY_SERIALIZABLE")}
	if cfg.PostgreSQL {
		r.commit, r.lost = "^commit", crdbsim.Error{Code: "40001", Message: "could not serialize access"}
	}
	r.open(r.connect(cfg))
	return r
}

// newClusterRig is newRig with a cluster of three nodes, which the driver reaches by their addresses or by a balancer.
func newClusterRig(t *testing.T, balanced bool) *rig {
	t.Helper()
	r := &rig{T: t, counts: prometheus.NewRegistry(), commit: "^release", lost: crdbsim.Conflict("RETRY_SERIALIZABLE")}
	r.open(r.connectCluster(balanced))
	return r
}

// open opens the pool, and makes the schema.
func (r *rig) open(dsn string) {
	t := r.T
	config, err := cockroachdb.ParseConfig(dsn)
	require.NoError(t, err)
	schema := "s_" + strings.ToLower(rand.Text()[:10])
	config.ConnConfig.RuntimeParams["search_path"] = schema
	config.RetryPolicy.InitialBackoff = time.Millisecond
	config.RetryPolicy.MaxBackoff = 5 * time.Millisecond
	config.RetryPolicy.MaxFailovers = 1000
	config.Metrics = cockroachdb.NewMetrics()
	r.counts.MustRegister(config.Metrics)
	connector, err := cockroachdb.NewConnector(config)
	require.NoError(t, err)
	r.db = sql.OpenDB(connector)
	r.db.SetMaxIdleConns(32)
	t.Cleanup(func() { _ = r.db.Close() })
	_, err = r.db.ExecContext(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
}

// connect starts the rig's Sim and returns the DSN that leads through it. On a real CockroachDB there is none.
func (r *rig) connect(cfg crdbsim.Config) string {
	if os.Getenv(postgres) == "" && enginetest.Get(r.T).IsCockroach() {
		if cfg.PostgreSQL {
			r.Skip("needs PostgreSQL; this engine is " + enginetest.Get(r.T).Name())
		}
		return database()
	}
	var of *pgconn.Config
	var err error
	cfg.Upstream, of = r.upstream()
	r.sim, err = crdbsim.Start(cfg)
	require.NoError(r, err)
	r.Cleanup(func() { r.sim.Close() })
	return "postgresql://root@" + r.sim.Addr() + "/" + of.Database + "?sslmode=disable"
}

// connectCluster starts the rig's cluster and returns the DSN that leads through it.
func (r *rig) connectCluster(balanced bool) string {
	if os.Getenv(postgres) == "" && enginetest.Get(r.T).IsCockroach() {
		r.Skip("takes nodes away, which needs crdbsim")
	}
	upstream, of := r.upstream()
	var err error
	r.nodes, err = crdbsim.StartCluster(clusterSize, crdbsim.Config{Upstream: upstream})
	require.NoError(r, err)
	r.Cleanup(func() { r.nodes.Close() })
	r.sim = r.nodes.Node(1).Sim
	if !balanced {
		return r.nodes.DSN("root", of.Database)
	}
	b, err := r.nodes.Balance(healthChecks)
	require.NoError(r, err)
	r.Cleanup(func() { b.Close() })
	return b.DSN("root", of.Database)
}

// upstream is the way to the PostgreSQL of all tests.
func (r *rig) upstream() (func(context.Context) (net.Conn, error), *pgconn.Config) {
	direct := os.Getenv(postgres)
	if direct == "" {
		direct = enginetest.Get(r.T).Direct(database())
	}
	of, err := pgconn.ParseConfig(direct)
	require.NoError(r, err)
	upstream, err := crdbsim.Upstream(direct)
	require.NoError(r, err)
	return upstream, of
}

// within bounds a test, so that a driver that waits for ever makes it fail, and not hang.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute+time.Duration(steps)*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// count is a metric, over all its labels or where one of them has this value: a counter's value, or a histogram's sum.
func (r *rig) count(name string, value ...string) (sum float64) {
	r.Helper()
	families, err := r.counts.Gather()
	require.NoError(r, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			has := func(l *dto.LabelPair) bool { return slices.Contains(value, l.GetValue()) }
			if family.GetName() == "cockroachdb_"+name && (len(value) == 0 || slices.ContainsFunc(m.GetLabel(), has)) {
				sum += m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum()
			}
		}
	}
	return sum
}

// none asserts that nothing is wrong with a history.
func (r *rig) none(found []history.Anomaly, err error) {
	r.Helper()
	require.NoError(r, err)
	for _, a := range found {
		assert.Fail(r, "the history is not serializable", a.String())
	}
}

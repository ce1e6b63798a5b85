// Package exactlyonce_test takes the answer to a commit away, and looks whether the driver finds out what became of it.
package exactlyonce_test

import (
	"context"
	"database/sql"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // what comes past the driver
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(askAbout); text != "" {
		os.Exit(asked(text))
	}
	enginetest.Main(m)
}

const (
	table    = cockroachdb.DefaultCommitTable
	onCommit = `^(RELEASE|COMMIT)`

	onMarker = `^INSERT INTO \S*"` + table + `" \(id, refused\) VALUES`
	onAsking = `^INSERT INTO \S*"` + table + `" AS m`
)

// A testbed is a database with accounts of which each transaction adds one to one, and a pool with commit markers.
type testbed struct {
	*sql.DB
	connector *cockroachdb.Connector
	dsn       string
	sim       *crdbsim.Sim
	plain     *sql.DB // by pgx, past the driver

	mu      sync.Mutex
	conns   []net.Conn // of the pool, in the order in which they were made
	answers []cockroachdb.CommitAnswer

	answered chan struct{} // has something for each answer
	holds    atomic.Pointer[holding]
}

// servers runs a test on CockroachDB and on PostgreSQL.
func servers(t *testing.T, test func(t *testing.T, s *testbed)) {
	t.Helper()
	for name, cfg := range map[string]crdbsim.Config{"CockroachDB": {}, "PostgreSQL": {PostgreSQL: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newTestbed(t, cfg))
		})
	}
}

func newTestbed(t *testing.T, cfg crdbsim.Config, changes ...func(*cockroachdb.Config)) *testbed {
	t.Helper()
	sim, dsn := enginetest.NewSim(t, cfg)
	s := &testbed{dsn: dsn, sim: sim, answered: make(chan struct{}, 100)}
	var err error
	s.plain, err = sql.Open("pgx", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.plain.Close()) })
	_, err = s.plain.ExecContext(t.Context(), "CREATE TABLE accounts (id INT PRIMARY KEY, n INT)")
	require.NoError(t, err)
	_, err = s.plain.ExecContext(t.Context(), "INSERT INTO accounts VALUES (1, 0), (2, 0)")
	require.NoError(t, err)
	require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), s.plain))

	config, err := cockroachdb.ParseConfig(dsn + "&retry_commit_marker=on")
	require.NoError(t, err)
	config.Metrics = nil
	config.ConnConfig.DialFunc = s.dial
	config.OnCommitAsked = s.asked
	for _, change := range changes {
		change(config)
	}
	s.connector, err = cockroachdb.NewConnector(config)
	require.NoError(t, err)
	s.DB = sql.OpenDB(s.connector)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	require.NoError(t, s.PingContext(t.Context()))
	return s
}

func (s *testbed) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	if err != nil {
		return nil, err
	}
	return &lateConn{Conn: c, holds: &s.holds}, nil
}

// cut closes the latest connection on the application's side: the server goes on with what it was sent.
func (s *testbed) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conns[len(s.conns)-1].Close()
}

func (s *testbed) asked(_ context.Context, e cockroachdb.CommitEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, e.Answer)
	s.answered <- struct{}{}
}

// eachLoss runs a test for each way in which the answer to a commit is lost. Each begins with nothing added or asked.
func (s *testbed) eachLoss(t *testing.T, test func(t *testing.T, l loss)) {
	t.Helper()
	for name, l := range losses {
		t.Run(name, func(t *testing.T) {
			_, err := s.plain.ExecContext(t.Context(), "UPDATE accounts SET n = 0")
			require.NoError(t, err)
			s.mu.Lock()
			s.answers = nil
			s.mu.Unlock()
			test(t, l)
		})
	}
}

// unasked has the next question for a commit answered by a refusal.
func unasked() *crdbsim.Fault {
	return crdbsim.On(onAsking, crdbsim.Action{
		Then: crdbsim.Fail, Error: crdbsim.Error{Code: "42501", Message: "permission denied"},
	})
}

// inject has faults strike from now on.
func (s *testbed) inject(faults ...*crdbsim.Fault) { s.sim.Inject(faults...) }

const add = "UPDATE accounts SET n = n + 1 WHERE id = $1"

// begin begins a transaction that has added one to the first account.
func (s *testbed) begin(t *testing.T, ctx context.Context, opts *sql.TxOptions) *sql.Tx {
	t.Helper()
	tx, err := s.BeginTx(ctx, opts)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), add, 1)
	require.NoError(t, err)
	return tx
}

// wants compares the first account, and the answers to the questions that were asked.
func (s *testbed) wants(t *testing.T, n int, answers ...cockroachdb.CommitAnswer) {
	t.Helper()
	assert.Equal(t, n, s.number(t, "SELECT n FROM accounts WHERE id = 1"))
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Equal(t, answers, s.answers)
}

func (s *testbed) number(t *testing.T, query string) (n int) {
	t.Helper()
	require.NoError(t, s.plain.QueryRowContext(t.Context(), query).Scan(&n))
	return n
}

// markers counts the rows of committed transactions, and of refused ones.
func (s *testbed) markers(t *testing.T) (committed, refused int) {
	t.Helper()
	return s.number(t, "SELECT count(*) FROM "+table+" WHERE NOT refused AND expires_at IS NOT NULL"),
		s.number(t, "SELECT count(*) FROM "+table+" WHERE refused")
}

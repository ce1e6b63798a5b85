//go:build unix

package failover_test

import (
	"context"
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// An outage is a server that goes away under load.
type outage struct {
	dsn    string
	direct string // leads to the tables by a way that stays

	// leave takes servers away while the load runs, brings them back if they come back, and returns when all is well.
	leave func(t *testing.T, l *load)

	// This driver is expected to show no errors but ambiguous commits, and none of those either where it is planned, or
	// where commits have markers.
	planned bool

	asked func(context.Context, cockroachdb.CommitEvent) // is told what became of commits whose answers were lost
}

// A contender is a driver that an outage runs through, with what it needs in its DSN.
type contender struct {
	driver string
	params string
}

var (
	pgxAlone = contender{driver: "pgx"}
	ours     = contender{driver: "cockroachdb"}
	marked   = contender{driver: "cockroachdb", params: "&retry_commit_marker=on"}
)

func (c contender) name() string { return c.driver + c.params }

// run runs the load and the outage through a driver.
func (s outage) run(t *testing.T, way contender) {
	t.Helper()
	direct := s.open(t, "pgx", s.direct)
	direct.SetMaxIdleConns(-1) // one that is idle during the outage would be lost, and pgx may only notice when it is used
	for _, statement := range tables {
		_, err := direct.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	if way == marked {
		require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), direct))
	}
	l := startLoad(s.pool(t, way))
	finished := false
	defer func() {
		if !finished { // a step of the test has failed
			l.finish()
		}
	}()
	l.goesOn(t)
	s.leave(t, l)
	l.goesOn(t)
	l.finish()
	finished = true
	found, err := l.contradictions(t.Context(), direct)
	require.NoError(t, err)
	require.Empty(t, found)
	seen, perhaps := l.errorsSeen()
	t.Logf("%s: %d committed, %d ambiguous, %d errors", way.name(), l.done.Load(), perhaps, len(seen))
	s.expect(t, way, seen, perhaps)
}

// expect checks what the driver is expected to have kept from the application.
func (s outage) expect(t *testing.T, way contender, seen []error, perhaps int) {
	t.Helper()
	if way.driver != ours.driver {
		return
	}
	assert.Empty(t, seen)
	if s.planned || way == marked {
		assert.Zero(t, perhaps, "ambiguous commits")
	}
}

// pool opens what the load runs through.
func (s outage) pool(t *testing.T, way contender) *sql.DB {
	t.Helper()
	if way.driver != ours.driver {
		return s.open(t, way.driver, s.dsn+way.params)
	}
	config, err := cockroachdb.ParseConfig(s.dsn + way.params)
	require.NoError(t, err)
	config.OnCommitAsked = s.asked
	connector, err := cockroachdb.NewConnector(config)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

func (s outage) open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

package crdbmodel_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A story is a few transactions on one server, whose table kv has the rows 0 to 9, all zero.
type story struct {
	*testing.T
	server *crdbmodel.Server
}

// tell plays a story in a bubble of its own.
func tell(t *testing.T, change func(*crdbmodel.Config), play func(s *story)) {
	t.Helper()
	t.Parallel()
	tellOnce(t, change, play)
}

// tellOnce is tell for one of several stories of a test.
func tellOnce(t *testing.T, change func(*crdbmodel.Config), play func(s *story)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := crdbmodel.Defaults()
		if change != nil {
			change(&cfg)
		}
		s := &story{t, crdbmodel.New(cfg)}
		t.Cleanup(s.server.Close)
		c := s.connect()
		c.must("CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)")
		c.must("INSERT INTO kv SELECT k, 0 FROM generate_series(0, 9) AS g(k)")
		play(s)
	})
}

// A client is one connection of a story.
type client struct {
	*story
	conn *pgx.Conn
}

func (s *story) connect() *client {
	s.Helper()
	cfg, err := pgx.ParseConfig(s.server.DSN())
	require.NoError(s, err)
	cfg.DialFunc = s.server.Dial
	conn, err := pgx.ConnectConfig(s.Context(), cfg)
	require.NoError(s, err)
	s.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &client{s, conn}
}

// two are clients that have begun transactions with the restart savepoint.
func (s *story) two() (a, b *client) {
	a, b = s.connect(), s.connect()
	a.must("BEGIN; SAVEPOINT cockroach_restart")
	b.must("BEGIN; SAVEPOINT cockroach_restart")
	return a, b
}

func (c *client) do(sql string, args ...any) error {
	_, err := c.conn.Exec(c.Context(), sql, args...)
	return err
}

func (c *client) must(sql string, args ...any) {
	c.Helper()
	require.NoError(c, c.do(sql, args...), sql)
}

func (c *client) commit() {
	c.Helper()
	c.must("RELEASE SAVEPOINT cockroach_restart; COMMIT")
}

// fails runs a statement that fails with a SQLSTATE, and a text in its message.
func (c *client) fails(code, says, sql string) {
	c.Helper()
	requireFailure(c, c.do(sql), code, says)
}

func requireFailure(t require.TestingT, err error, code, says string) {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, code, answer.Code, answer.Message)
	require.Contains(t, answer.Message, says)
}

// sees runs a query of one number.
func (c *client) sees(want int64, sql string, args ...any) {
	c.Helper()
	var n int64
	require.NoError(c, c.conn.QueryRow(c.Context(), sql, args...).Scan(&n), sql)
	require.Equal(c, want, n, sql)
}

// A promise is a statement that is under way.
type promise struct {
	*client
	sql  string
	err  error
	n    int64
	took time.Duration
	done atomic.Bool // what is above is there
}

// goes starts a statement, and query one of one number, and leaves it time to get to where it waits.
func (c *client) goes(sql string) *promise {
	return c.start(sql, func(p *promise) error { return c.do(sql) })
}

func (c *client) query(sql string) *promise {
	return c.start(sql, func(p *promise) error { return c.conn.QueryRow(c.Context(), sql).Scan(&p.n) })
}

func (c *client) start(sql string, run func(*promise) error) *promise {
	p := &promise{client: c, sql: sql}
	began := time.Now()
	go func() {
		p.err = run(p)
		p.took = time.Since(began)
		p.done.Store(true)
	}()
	p.settle()
	return p
}

// settle leaves the statement time to end, or to get to where it waits.
func (p *promise) settle() {
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
}

// waits asserts that the statement waits.
func (p *promise) waits() *promise {
	p.Helper()
	p.settle()
	require.False(p, p.done.Load(), "%s does not wait", p.sql)
	return p
}

// ends asserts that the statement ends soon: at once, unless it has a deadlock to find.
func (p *promise) ends() error {
	p.Helper()
	p.settle()
	require.True(p, p.done.Load(), "%s still waits", p.sql)
	return p.err
}

func (p *promise) succeeds() {
	p.Helper()
	require.NoError(p, p.ends(), p.sql)
}

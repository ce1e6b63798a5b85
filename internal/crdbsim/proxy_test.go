package crdbsim

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	assert.Zero(t, w.RoundTrips(), "starting up does not count")
	c.pipeline("BEGIN", open, update)
	assert.EqualValues(t, 1, w.RoundTrips())
	c.query(read)
	assert.EqualValues(t, 2, w.RoundTrips())
	c.pipeline(release, "COMMIT")
	assert.EqualValues(t, 3, w.RoundTrips())
}

func TestLog(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	c.query(read)
	assert.Empty(t, w.Log())
	w.SetLog(true)
	c.query(read)
	c.fe.Send(&pgproto3.Parse{Name: "s1", Query: read})
	c.fe.Send(&pgproto3.Bind{PreparedStatement: "s1"})
	c.fe.Send(&pgproto3.Describe{ObjectType: 'P'})
	c.fe.Send(&pgproto3.Execute{})
	c.fe.Send(&pgproto3.Flush{})
	c.fe.Send(&pgproto3.Close{ObjectType: 'S', Name: "s1"})
	c.fe.Send(&pgproto3.Sync{})
	require.NoError(t, c.fe.Flush())
	c.untilReady()
	var got []string
	for _, e := range w.Log() {
		got = append(got, e.String())
	}
	assert.Equal(t, []string{
		`1> Query "` + read + `"`,
		`1> Parse stmt="s1" sql="` + read + `"`,
		`1> Bind stmt="s1" sql="` + read + `"`,
		`1> Describe P""`,
		`1> Execute stmt="s1" sql="` + read + `"`,
		`1> Flush`,
		`1> Close S"s1"`,
		`1> Sync`,
	}, got)
	w.ResetLog()
	assert.Empty(t, w.Log())
}

// TestLargeResult reads one row of very many, and sees that the rest has not been gathered anywhere.
func TestLargeResult(t *testing.T) {
	t.Parallel()
	const rows = 100_000
	sql := fmt.Sprintf("SELECT i, repeat('x', 1000) FROM generate_series(1, %d) AS i", rows)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec} {
		t.Run(mode.String(), func(t *testing.T) {
			conn := newTestbed(t, Config{}).connect(t)
			var before, during runtime.MemStats
			runtime.ReadMemStats(&before)
			result, err := conn.Query(t.Context(), sql, mode)
			require.NoError(t, err)
			n := 0
			for result.Next() {
				if n++; n == rows/2 {
					runtime.ReadMemStats(&during)
				}
			}
			require.NoError(t, result.Err())
			assert.Equal(t, rows, n)
			assert.Less(t, int64(during.HeapInuse)-int64(before.HeapInuse), int64(rows*1000/4))
		})
	}
}

func TestPortalInParts(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{}, {PostgreSQL: true}} {
		c := newTestbed(t, cfg).client(t)
		c.fe.Send(&pgproto3.Parse{Query: "SELECT k FROM kv ORDER BY k"})
		c.fe.Send(&pgproto3.Bind{DestinationPortal: "p"})
		c.fe.Send(&pgproto3.Execute{Portal: "p", MaxRows: 2})
		c.send(&pgproto3.Flush{})
		assert.Equal(t, "D 1", c.next())
		assert.Equal(t, "D 2", c.next())
		c.fe.Send(&pgproto3.Execute{Portal: "p"})
		c.send(&pgproto3.Sync{})
		assert.Equal(t, []string{"D 3", "C SELECT 1", "Z I"}, c.untilReady())
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	conn := w.connect(t)
	n, err := conn.CopyFrom(t.Context(), pgx.Identifier{"kv"}, []string{"k", "v"},
		pgx.CopyFromSlice(10_000, func(i int) ([]any, error) {
			return []any{i + 100, i}, nil
		}))
	require.NoError(t, err)
	assert.EqualValues(t, 10_000, n)
	var out strings.Builder
	tag, err := conn.PgConn().CopyTo(t.Context(), &out, "COPY kv TO STDOUT")
	require.NoError(t, err)
	assert.EqualValues(t, 10_003, tag.RowsAffected())
	_, err = conn.CopyFrom(t.Context(), pgx.Identifier{"kv"}, []string{"k", "v"}, pgx.CopyFromRows([][]any{{1, 1}}))
	require.ErrorContains(t, err, "23505")
	require.NoError(t, conn.Ping(t.Context()))
}

func TestPostgreSQLMode(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{PostgreSQL: true})
		c := w.client(t)
		assert.NotContains(t, c.params, "crdb_version")
		assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "C RELEASE", "Z T"}, exec(c, "BEGIN", open, release))
		assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(c, "ROLLBACK"))
		assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(c, "ROLLBACK"), "only a warning")
		assert.Equal(t, []string{"E 42704", "Z I"}, exec(c, "SHOW distsql"))
		// an injected error is an error to PostgreSQL as well
		exec(c, "BEGIN")
		exec(c, "SAVEPOINT a")
		w.Inject(On("^update", fails("40001")))
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(c, update))
		assert.Equal(t, []string{"E 25P02", "Z E"}, exec(c, read))
		assert.Equal(t, []string{"C ROLLBACK", "Z T"}, exec(c, "ROLLBACK TO a"))
		w.Inject(On("^commit", fails("40001")))
		exec(c, update)
		assert.Equal(t, []string{"E 40001", "Z I"}, exec(c, "COMMIT"))
		assert.Equal(t, 10, w.value(t, 1))
		w.Inject(On("^update", Action{Then: ExecuteFail, Error: Error{Code: "40001"}}))
		exec(c, "BEGIN")
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(c, update))
		assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(c, "COMMIT"))
		w.Inject(On("^update", Action{Then: ExecuteCut}))
		assert.Equal(t, []string{"EOF"}, exec(c, update))
		assert.Equal(t, 11, w.value(t, 1))
	})
}

// TestPostgreSQLConflict checks that a conflict is told in PostgreSQL's words, with its code.
func TestPostgreSQLConflict(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{PostgreSQL: true})
	c := w.connect(t)
	_, err := c.Exec(t.Context(), "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT v FROM kv")
	require.NoError(t, err)
	_, err = w.connect(t).Exec(t.Context(), update)
	require.NoError(t, err)
	_, err = c.Exec(t.Context(), update)
	require.ErrorContains(t, err, "ERROR: could not serialize access due to concurrent update (SQLSTATE 40001)")
	require.NotContains(t, err.Error(), "restart transaction")
	_, err = c.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)

	_, err = c.Exec(t.Context(), "DO $$ BEGIN RAISE 'deadlock detected' USING ERRCODE = '40P01'; END $$")
	require.ErrorContains(t, err, "ERROR: deadlock detected (SQLSTATE 40P01)")

	w.Inject(On("^update", Action{Then: Fail, Error: Conflict("RETRY_SERIALIZABLE")}))
	_, err = c.Exec(t.Context(), update)
	require.ErrorContains(t, err,
		"ERROR: could not serialize access due to read/write dependencies among transactions (SQLSTATE 40001)")
}

// TestPostgreSQLPipeline checks that statements under one Sync stay one transaction there.
func TestPostgreSQLPipeline(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{PostgreSQL: true})
	c := w.client(t)
	assert.Equal(t, []string{"C UPDATE 1", "E 22012", "Z I"}, c.pipeline(update, "SELECT 1/0"))
	assert.Equal(t, 10, w.value(t, 1))
	w.Inject(On("^select", fails("40001")))
	assert.Equal(t, []string{"C UPDATE 1", "E 40001", "Z I"}, c.pipeline(update, read))
	assert.Equal(t, 10, w.value(t, 1))
}

// TestPipelineOutsideTransaction checks that CockroachDB commits each statement separately.
func TestPipelineOutsideTransaction(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	assert.Equal(t, []string{"C UPDATE 1", "E 22012", "Z I"}, w.client(t).pipeline(update, "SELECT 1/0"))
	assert.Equal(t, 11, w.value(t, 1))
}

// TestLatency only looks at how long things take at least, and at that the delay is one of travel: what travels
// together waits together.
func TestLatency(t *testing.T) {
	t.Parallel()
	const latency = 20 * time.Millisecond
	w := newTestbed(t, Config{})
	c := w.client(t)
	w.SetLatency(latency)
	start := time.Now()
	for range 3 {
		c.query(read)
	}
	assert.GreaterOrEqual(t, time.Since(start), 3*2*latency)
	w.SetLatency(time.Hour)
	for range 3 { // an answer that would take hours must not keep Close waiting
		c.fe.Send(&pgproto3.Query{String: read})
	}
	require.NoError(t, c.fe.Flush())
}

func TestDrain(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		idle, working := w.client(t), w.client(t)
		exec(working, "BEGIN", open, update)
		w.Drain(Error{Code: "57P01", Message: "server is shutting down"})
		assert.Equal(t, "E 57P01", idle.next())
		assert.Equal(t, "EOF", idle.next())
		assert.Equal(t, []string{"C UPDATE 1", "Z T"}, exec(working, update))
		assert.Equal(t, []string{"C COMMIT", "C COMMIT", "Z I"}, exec(working, release, "COMMIT"))
		assert.Equal(t, "E 57P01", working.next())
		assert.Equal(t, "EOF", working.next())
		assert.Equal(t, 12, w.value(t, 1))
	})
}

func TestCloseConns(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	c.query("BEGIN; " + update)
	w.CloseConns()
	assert.Equal(t, "EOF", c.next())
	assert.Equal(t, "D 10", w.client(t).query(read)[0])
}

// TestConcurrency moves money about by hand-written retry loops; none may be lost or made.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	everywhere := On("^(begin|savepoint|select|update|release|rollback to)", Action{
		Then: Fail, Error: Conflict("RETRY_SERIALIZABLE"),
	})
	everywhere.Times = 20
	w.Inject(everywhere, On("^update", Action{Then: ExecuteFail, Error: Conflict("WriteTooOldError")}))
	var group sync.WaitGroup
	for i := range 4 {
		conn := w.connect(t)
		group.Go(func() {
			for j := range 20 {
				assert.NoError(t, transfer(t.Context(), conn, 1+(i+j)%3, 1+(i+j+1)%3))
			}
		})
	}
	group.Wait()
	assert.Equal(t, 60, w.value(t, 1)+w.value(t, 2)+w.value(t, 3))
}

// transfer is what cockroach-go's ExecuteTx does.
func transfer(ctx context.Context, conn *pgx.Conn, from, to int) error {
	exec := func(sql string, args ...any) (err error) {
		_, err = conn.Exec(ctx, sql, args...)
		return err
	}
	begin := func() error {
		for { // outside a transaction, it is only faults that say 40001
			err := exec("BEGIN")
			if err == nil {
				if err = exec(open); err == nil {
					return nil
				}
				_ = exec("ROLLBACK")
			}
			if !isConflict(err) {
				return err
			}
		}
	}
	if err := begin(); err != nil {
		return err
	}
	for {
		var v int
		err := conn.QueryRow(ctx, "SELECT v FROM kv WHERE k = $1", from).Scan(&v)
		if err == nil {
			err = exec("UPDATE kv SET v = $2 WHERE k = $1", from, v-1)
		}
		if err == nil {
			err = exec("UPDATE kv SET v = v + 1 WHERE k = $1", to)
		}
		if err == nil {
			err = exec(release)
		}
		if err == nil {
			return exec("COMMIT")
		}
		for isConflict(err) {
			if err = exec(back); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
}

func isConflict(err error) bool {
	e := &pgconn.PgError{}
	ok := errors.As(err, &e)
	return ok && e.Code == "40001"
}

func BenchmarkQuery(b *testing.B) {
	for _, through := range []string{"nothing", "sim"} {
		b.Run("through="+through, func(b *testing.B) {
			sim, err := Start(Config{Upstream: postgres.dial})
			require.NoError(b, err)
			defer sim.Close()
			dsn := postgres.dsn()
			if through == "sim" {
				dsn = fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", superuser, sim.Addr())
			}
			conn, err := pgx.Connect(b.Context(), dsn)
			require.NoError(b, err)
			defer conn.Close(b.Context())
			for b.Loop() {
				var one int
				require.NoError(b, conn.QueryRow(b.Context(), "SELECT 1::int").Scan(&one))
			}
		})
	}
}

package bench

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/bench/internal/transact"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// oracles are peers that know beforehand which rows each transaction reads and writes. No driver can: they show what
// there is to have. BENCH_ORACLE adds them to the benchmark.
var oracles = []peer{
	{"oracle-loop", likePostgreSQL, knowing(with(pgxConnector, transact.Once))},
	{"oracle-RunTx", likePostgreSQL, knowing(ours(runTx))},
}

func contenders() []peer {
	if os.Getenv("BENCH_ORACLE") == "" {
		return peers
	}
	return slices.Concat(peers, oracles)
}

func knowing(open func(testing.TB, ground) *client) func(testing.TB, ground) *client {
	return func(tb testing.TB, g ground) *client {
		c := open(tb, g)
		o := &oracle{rehearsals: sql.OpenDB(rehearsals{})}
		o.changed.L = &o.mu
		tb.Cleanup(func() { require.NoError(tb, o.rehearsals.Close()) })
		c.enter = o.enter
		return c
	}
}

// An oracle lets a transaction begin when it has no conflict with those that are under way.
type oracle struct {
	rehearsals *sql.DB

	mu      sync.Mutex
	changed sync.Cond
	running []footprint
}

// enter returns what to call when the transaction has committed.
func (o *oracle) enter(ctx context.Context, run body) (leave func(), err error) {
	f, err := o.rehearse(ctx, run)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for slices.ContainsFunc(o.running, func(other footprint) bool { return conflict(f, other) }) {
		o.changed.Wait()
	}
	o.running = append(o.running, f)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.running = slices.DeleteFunc(o.running, func(other footprint) bool { return &other[0] == &f[0] })
		o.changed.Broadcast()
	}, nil
}

// rehearse runs a transaction without a database.
func (o *oracle) rehearse(ctx context.Context, run body) (f footprint, err error) {
	c, err := o.rehearsals.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	_, err = run(ctx, tx)
	return f, errors.Join(err, tx.Rollback(), c.Raw(func(c any) error {
		r := c.(*rehearsal)
		f, r.seen = r.seen, nil
		return nil
	}))
}

// A footprint is what a transaction reads and writes, statement by statement.
type footprint []access

// An access is a statement's to the rows of a table in which the columns have these values.
type access struct {
	table  string
	where  map[string]string
	writes bool
}

func conflict(a, b footprint) bool {
	return slices.ContainsFunc(a, func(x access) bool {
		return slices.ContainsFunc(b, func(y access) bool {
			return (x.writes || y.writes) && x.table == y.table && meet(x.where, y.where)
		})
	})
}

// meet reports whether a row may meet both conditions.
func meet(a, b map[string]string) bool {
	for column, value := range a {
		if other, ok := b[column]; ok && other != value {
			return false
		}
	}
	return true
}

// A rehearsal is a connection that answers each query with a row of ones, and keeps what the statements are about.
// INSERTs are left out: the workloads insert nothing but what belongs to a row that they have written.
type rehearsal struct{ seen footprint }

func (r *rehearsal) see(query string, args []driver.NamedValue) {
	if strings.HasPrefix(query, "INSERT") {
		return
	}
	table, where := sqltext.Target(query)
	a := access{table: table, where: make(map[string]string), writes: sqltext.AwaitsRows(query)}
	for _, e := range where {
		a.where[e.Column] = e.Value
		if e.Parameter > 0 {
			a.where[e.Column] = fmt.Sprint(args[e.Parameter-1].Value)
		}
	}
	r.seen = append(r.seen, a)
}

func (r *rehearsal) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	r.see(query, args)
	_, returned, ok := strings.Cut(query, "RETURNING")
	if !ok {
		returned, _, _ = strings.Cut(query, "FROM")
	}
	return &ones{columns: 1 + strings.Count(returned, ",")}, nil
}

func (r *rehearsal) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	r.see(query, args)
	return driver.RowsAffected(1), nil
}

func (r *rehearsal) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (r *rehearsal) Begin() (driver.Tx, error)           { return r, nil }
func (r *rehearsal) Commit() error                       { return nil }
func (r *rehearsal) Rollback() error                     { return nil }
func (r *rehearsal) Close() error                        { return nil }

// rehearsals is the connector of rehearsals.
type rehearsals struct{}

func (rehearsals) Connect(context.Context) (driver.Conn, error) { return &rehearsal{}, nil }
func (rehearsals) Driver() driver.Driver                        { return nil }

// ones is a result of one row.
type ones struct {
	columns int
	ended   bool
}

func (o *ones) Columns() []string { return make([]string, o.columns) }
func (o *ones) Close() error      { return nil }

func (o *ones) Next(row []driver.Value) error {
	if o.ended {
		return io.EOF
	}
	o.ended = true
	for i := range row {
		row[i] = int64(1)
	}
	return nil
}

package kit

import (
	"cmp"
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Querier is a *sql.DB, *sql.Conn or *sql.Tx.
type Querier interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// Begin begins a transaction, which is rolled back at the end of the test.
func Begin(t testing.TB, db interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
},
) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// Conn takes a connection of its own out of the pool, until the test ends.
func Conn(t testing.TB, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// InTx runs do in a transaction and commits it, as programs without RunTx do.
func InTx(ctx context.Context, db *sql.DB, opts *sql.TxOptions, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Exec runs a statement, which must succeed.
func Exec(t testing.TB, db Querier, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

// ExecAll runs statements until one fails.
func ExecAll(on Querier, texts ...string) error {
	for _, text := range texts {
		if _, err := on.ExecContext(context.Background(), text); err != nil {
			return err
		}
	}
	return nil
}

// Affected runs a statement, which must succeed, and returns how many rows it affected.
func Affected(t testing.TB, db Querier, query string, args ...any) int {
	t.Helper()
	res, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
	n, err := res.RowsAffected()
	require.NoError(t, err)
	return int(n)
}

// Scan reads one row of one column.
func Scan[T any](t testing.TB, db Querier, query string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), query, args...).Scan(&v))
	return v
}

// ReadAll returns the rows of a query of one column, and the error that ended it, wherever it came.
func ReadAll(ctx context.Context, db Querier, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return read(rows, -1)
}

// A Reader is rows of one column, being read.
type Reader struct {
	*sql.Rows
	t testing.TB
}

// Query runs a query, which must succeed. Its rows are closed at the end of the test.
func Query(t testing.TB, db Querier, query string, args ...any) Reader {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = rows.Close() })
	return Reader{rows, t}
}

// Read reads the next n rows, which must be there.
func (r Reader) Read(n int) []string {
	r.t.Helper()
	values, err := read(r.Rows, n)
	require.NoError(r.t, err)
	require.Len(r.t, values, n)
	return values
}

// Rest reads what is left, with its end.
func (r Reader) Rest() ([]string, error) { return read(r.Rows, -1) }

// MustRest is Rest, without an error.
func (r Reader) MustRest() []string {
	r.t.Helper()
	values, err := r.Rest()
	require.NoError(r.t, err)
	return values
}

// read reads n rows, or, if that is negative, all of them and their end.
func read(rows *sql.Rows, n int) ([]string, error) {
	values := []string{}
	for len(values) != n && rows.Next() {
		var v sql.Null[string]
		if err := rows.Scan(&v); err != nil {
			return values, err
		}
		values = append(values, v.V)
	}
	if len(values) == n {
		return values, nil
	}
	return values, cmp.Or(rows.Err(), rows.Close())
}

package kit

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
)

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
	values := []string{}
	for range n {
		require.True(r.t, r.Next(), "no row: %v", r.Err())
		values = append(values, r.Value())
	}
	return values
}

// Value is that of the row last read, or NULL.
func (r Reader) Value() string {
	r.t.Helper()
	var v sql.NullString
	require.NoError(r.t, r.Scan(&v))
	if !v.Valid {
		return "NULL"
	}
	return v.String
}

// Rest reads what is left, with its end.
func (r Reader) Rest() ([]string, error) {
	r.t.Helper()
	values := []string{}
	for r.Next() {
		values = append(values, r.Value())
	}
	return values, r.Err()
}

// MustRest is Rest, without an error.
func (r Reader) MustRest() []string {
	r.t.Helper()
	values, err := r.Rest()
	require.NoError(r.t, err)
	return values
}

// MustClose closes the rows.
func (r Reader) MustClose() {
	r.t.Helper()
	require.NoError(r.t, r.Close())
}

// ReadAll returns the rows of a query of one column, and the error that ended it, wherever it came.
func ReadAll(ctx context.Context, db Querier, query string, args ...any) (values []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return values, err
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		return values, err
	}
	return values, rows.Close()
}

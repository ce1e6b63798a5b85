package kit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// Secret is for values and arguments that no error may show.
const Secret = "s3cr3t"

// WantConflict asserts that loops like cockroach-go's recognise the error as the server's conflict.
func WantConflict(t testing.TB, err error) {
	t.Helper()
	WantCodeWithin(t, err, "40001")
	assert.NotContains(t, err.Error(), Secret)
}

// WantDivergence asserts that err is that divergence, and a conflict to loops.
func WantDivergence(t testing.TB, err error, want cockroachdb.DivergenceError) {
	t.Helper()
	WantConflict(t, err)
	got := As[*cockroachdb.DivergenceError](t, err)
	assert.Equal(t, want, cockroachdb.DivergenceError{
		Statement: got.Statement, Kind: got.Kind, Row: got.Row, Attempts: got.Attempts,
	}, err)
}

// WantCode asserts that err is the server's own error, not wrapped by anything, as ORMs look for it.
func WantCode(t testing.TB, err error, code string) {
	t.Helper()
	pgErr, ok := err.(*pgconn.PgError) //nolint:errorlint // ORMs assert the type of statement errors
	require.True(t, ok, "%T: %v", err, err)
	assert.Equal(t, code, pgErr.Code)
}

// WantCodeWithin asserts that the server's own error can be found in err.
func WantCodeWithin(t testing.TB, err error, code string) {
	t.Helper()
	assert.Equal(t, code, As[*pgconn.PgError](t, err).Code)
}

// As is the error of that type in err, which must be there.
func As[E error](t testing.TB, err error) E {
	t.Helper()
	var e E
	require.ErrorAs(t, err, &e)
	return e
}

// IsA reports whether there is an error of that type in err.
func IsA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// StateOf is the SQLSTATE in err, by the way that loops like cockroach-go's look for it.
func StateOf(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

// Describe is an error's type and text.
func Describe(err error) string {
	if err == nil {
		return "ok"
	}
	return fmt.Sprintf("%T: %s", err, err)
}

// WantUsable asserts that the one connection of a pool is there for the next transaction.
func WantUsable(t testing.TB, db *sql.DB) {
	t.Helper()
	require.Equal(t, 1, db.Stats().MaxOpenConnections, "the test is to have one connection")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := db.ExecContext(ctx, "SELECT 1")
	require.NoError(t, err)
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(ctx, "SELECT 1")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
}

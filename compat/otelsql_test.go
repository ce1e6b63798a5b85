package compat

import (
	"database/sql"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/reprise-go/cockroachdb"
)

// openOtelsql gives the pool, and what is traced of it.
func openOtelsql(t *testing.T, dsn string) (*sql.DB, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	db, err := otelsql.Open("cockroachdb", dsn,
		otelsql.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))))
	require.NoError(t, err)
	closing(t, db)
	return db, spans
}

func names(spans *tracetest.SpanRecorder) map[string]int {
	count := map[string]int{}
	for _, span := range spans.Ended() {
		count[span.Name()]++
	}
	return count
}

func TestOtelsql(t *testing.T) {
	t.Parallel()
	db, spans := openOtelsql(t, newBank(t).dsn)

	var owner string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT owner FROM accounts WHERE id = $1", 101).Scan(&owner))
	assert.Equal(t, "ann", owner)
	_, err := db.ExecContext(t.Context(), "UPDATE accounts SET balance = balance + 1 WHERE owner = ANY($1)",
		[]string{"ann", "bob"})
	require.NoError(t, err, "arguments that only pgx knows get through")
	assert.Equal(t, 1, names(spans)["sql.conn.query"])
	assert.Equal(t, 1, names(spans)["sql.conn.exec"])
}

// TestOtelsqlConflict has the trace show what the application did, and nothing of the replay.
func TestOtelsqlConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db, spans := openOtelsql(t, b.dsn)

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, draw(t.Context(), t, b, tx))
	require.NoError(t, tx.Commit())
	b.mustHaveAbsorbed(t)
	assert.Equal(t, 1, names(spans)["sql.conn.query"])
	assert.Equal(t, 1, names(spans)["sql.conn.exec"])
	assert.Equal(t, 1, names(spans)["sql.tx.commit"])
}

func TestOtelsqlConstraint(t *testing.T) {
	t.Parallel()
	db, _ := openOtelsql(t, newBank(t).dsn)
	_, err := db.ExecContext(t.Context(), "INSERT INTO accounts (id, owner, balance) VALUES (103, 'bob', 5)")
	requireDuplicate(t, err)
}

func TestOtelsqlRunTx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db, _ := openOtelsql(t, b.dsn)
	once := b.rivalDrawsOnce(t)

	calls := 0
	require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
		calls++
		var balance int64
		row := tx.QueryRowContext(t.Context(), "SELECT balance FROM accounts WHERE owner = 'bob'")
		if err := row.Scan(&balance); err != nil {
			return err
		}
		once()
		_, err := tx.ExecContext(t.Context(), "UPDATE accounts SET balance = $1 WHERE owner = 'bob'", balance-1)
		return err
	}))
	b.mustHaveAbsorbed(t)
	assert.Equal(t, 2, calls)
}

package statement_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// TestCopy_SentAsText_IsRefused: sent, the first of these would wait for rows until its context ends, and what the
// second answers would be lost.
func TestCopy_SentAsText_IsRefused(t *testing.T) {
	db := kit.Open(t, enginetest.NewDB(t))
	_, err := db.ExecContext(t.Context(), "CREATE TABLE copied (id INT PRIMARY KEY)")
	require.NoError(t, err)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()

	const refused = "cockroachdb: COPY FROM STDIN and COPY TO STDOUT can't be sent as text"
	for _, sql := range []string{
		"COPY copied FROM STDIN", `/* all */ copy "copied" (id) to stdout`,
		";COPY copied (id) FROM /**/ stdin WITH (FORMAT csv)",
	} {
		for _, mode := range []pgx.QueryExecMode{
			pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
			pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
		} {
			_, err = tx.ExecContext(t.Context(), sql, mode)
			assert.ErrorContains(t, err, refused)
			_, err = tx.QueryContext(t.Context(), sql, mode)
			assert.ErrorContains(t, err, refused)
			_, err = db.ExecContext(t.Context(), sql, mode)
			assert.ErrorContains(t, err, refused)
		}
		_, err = tx.PrepareContext(t.Context(), sql)
		assert.ErrorContains(t, err, refused)
		_, err = db.PrepareContext(t.Context(), sql)
		assert.ErrorContains(t, err, refused)
	}

	// Nothing was sent, and so the transaction goes on.
	_, err = tx.ExecContext(t.Context(), "INSERT INTO copied VALUES (1)")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
}

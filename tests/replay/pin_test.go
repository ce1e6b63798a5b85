package replay_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// row is what the application was shown of a row, as texts.
type shownRow struct{ id, at string }

func TestPin_Smoke(t *testing.T) {
	kv := kit.NewKV(t)
	kit.Exec(t, kv.Rival, "CREATE TABLE things (id BIGSERIAL PRIMARY KEY, name TEXT, at TIMESTAMPTZ DEFAULT clock_timestamp())")
	tx := kv.Begin(t)
	var id int64
	var at time.Time
	require.NoError(t, tx.QueryRow("INSERT INTO things (name) VALUES ($1) RETURNING id, at", "x").Scan(&id, &at))
	require.NoError(t, kv.Provoke(t, tx))
	kv.MustCommit(t, tx)
	var id2 int64
	var at2 time.Time
	require.NoError(t, kv.Rival.QueryRow("SELECT id, at FROM things").Scan(&id2, &at2))
	assert.Equal(t, id, id2)
	assert.True(t, at.Equal(at2))
	_ = sql.ErrNoRows
}

package cockroachdb_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A replay whose statements fill the buffers on their way out, while the answers to its first ones fill those on their way back: who
// only wrote before reading would wait for ever.
func TestReplayLargerThanAllBuffers(t *testing.T) {
	t.Parallel()
	const statements = 10_000
	row := [][]byte{bytes.Repeat([]byte("a"), 2_000)}
	arg := string(bytes.Repeat([]byte("b"), 500))
	updates := playbook{"UPDATE c": {lost, won}}
	st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "SELECT v WHERE k = $1" {
			return updates.answer(s)
		}
		return fakepg.Reply{Columns: column("v", pgtype.TextOID), ParamOIDs: []uint32{pgtype.TextOID}, Rows: [][][]byte{row}}
	}, "retry_max_bytes=100000000")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tx, err := st.BeginTx(ctx, nil)
	require.NoError(t, err)
	for range statements {
		var v string
		require.NoError(t, tx.QueryRowContext(ctx, "SELECT v WHERE k = $1", arg).Scan(&v))
	}
	_, err = tx.ExecContext(ctx, "UPDATE c")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	assert.Equal(t, 2*statements, times(st.srv, "SELECT v WHERE k = $1"))
}

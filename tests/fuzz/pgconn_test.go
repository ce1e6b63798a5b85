package fuzz_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// pgconn takes no notice of a ReadyForQuery in the middle of a result: it reads on into the next answer, and panics
// where that begins with another. No server says so, and the driver does not see it, so
// FuzzServerAnswers cuts the connection there. When this test fails, pgx has fixed it, and mangledConn.deliver can do
// without the cut.
func TestPgconn_ReadsPastReadyForQuery(t *testing.T) {
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	srv := fakepg.Start(t, func(c *fakepg.Conn) {
		c.ReceiveUntilSync()
		c.Send(fakepg.TextColumns("k"), ready, ready)
		c.Flush()
		c.Receive()
	}, fakepg.InMemory())
	cfg, err := pgx.ParseConfig(srv.DSN())
	require.NoError(t, err)
	cfg.DialFunc, cfg.LookupFunc = srv.Dial, srv.Lookup
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	require.NoError(t, err)
	assert.PanicsWithValue(t, "BUG: cannot unlock unlocked connection", func() {
		results := conn.PgConn().Exec(context.Background(), "SELECT 1")
		for results.NextResult() {
			_, _ = results.ResultReader().Close()
		}
	})
	assert.NoError(t, conn.PgConn().Conn().Close())
}

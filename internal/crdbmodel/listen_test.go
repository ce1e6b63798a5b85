package crdbmodel_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

func TestListen_ClientOfASocket_IsServed(t *testing.T) {
	t.Parallel()
	server := crdbmodel.New(crdbmodel.Defaults())
	l, err := crdbmodel.Listen(server)
	require.NoError(t, err)
	connect := func() *pgx.Conn {
		c, err := pgx.Connect(t.Context(), l.DSN("bank"))
		require.NoError(t, err)
		return c
	}
	first, second := connect(), connect()
	_, err = first.Exec(t.Context(), "CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)")
	require.NoError(t, err)
	_, err = first.Exec(t.Context(), "INSERT INTO accounts SELECT id, $1 FROM generate_series(1, $2) AS id", 100, 3)
	require.NoError(t, err)
	require.NoError(t, first.Close(t.Context()))
	var sum int64
	require.NoError(t, second.QueryRow(t.Context(), "SELECT sum(balance) FROM accounts").Scan(&sum))
	assert.EqualValues(t, 300, sum)

	server.Close()
	require.NoError(t, l.Close())
	require.Error(t, second.Ping(t.Context()), "the server has gone")
}

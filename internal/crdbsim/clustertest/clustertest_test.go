package clustertest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/crdbsim/clustertest"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func TestNew_EveryWayLeadsToOneDatabase(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 2, crdbsim.Config{})
	_, balanced := c.Balance(crdbsim.LookAlways)
	names := make(map[string]bool)
	for _, dsn := range []string{c.Direct, c.DSN(), c.NodeDSN(2), balanced} {
		conn, err := pgx.Connect(t.Context(), dsn)
		require.NoError(t, err)
		var name string
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&name))
		require.NoError(t, conn.Close(t.Context()))
		names[name] = true
	}
	assert.Len(t, names, 1)
}

package enginetest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func TestNewDB(t *testing.T) { t.Parallel(); select1(t, enginetest.NewDB(t)) }

func TestNewDirectDB(t *testing.T) { t.Parallel(); select1(t, enginetest.NewDirectDB(t)) }

func TestNewSim(t *testing.T) {
	t.Parallel()
	sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
	require.NotSame(t, sim, enginetest.Get(t).Sim())
	select1(t, dsn)
}

func select1(t *testing.T, dsn string) {
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	var one int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT 1").Scan(&one))
	require.NoError(t, conn.Close(t.Context()))
}

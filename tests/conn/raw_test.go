package conn_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// While rows are read, whoever uses the pgx connection behind Raw is told so, and no row is lost by it.
func TestRaw_WhileRowsAreOpen_IsBusy(t *testing.T) {
	t.Parallel()
	c := kit.Conn(t, kit.Open(t, enginetest.NewDB(t)))
	raw := func(do func(*pgx.Conn) error) error {
		return c.Raw(func(dc any) error { return do(dc.(cockroachdb.Conn).Conn()) })
	}
	for _, closes := range []bool{false, true} {
		rows, err := c.QueryContext(t.Context(), "SELECT generate_series(1, 1000)")
		require.NoError(t, err)
		defer rows.Close()
		n := 0
		for ; n < 3; n++ {
			require.True(t, rows.Next())
			require.ErrorContains(t, raw(func(p *pgx.Conn) error {
				_, err := p.Exec(t.Context(), "SELECT 1")
				return err
			}), "conn busy")
		}
		if closes {
			require.NoError(t, raw(func(p *pgx.Conn) error { return p.Close(t.Context()) }))
		}
		for rows.Next() {
			n++
		}
		assert.Equal(t, closes, rows.Err() != nil)
		if !closes {
			assert.Equal(t, 1000, n)
			kit.Exec(t, c, "SELECT 1")
		}
	}
}

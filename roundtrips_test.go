package cockroachdb_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// openFake opens a pool of one connection to a fake server.
func openFake(t testing.TB, srv *fakepg.Server) *sql.DB {
	t.Helper()
	db, err := sql.Open("cockroachdb", srv.DSN())
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, db.PingContext(t.Context()))
	srv.Forget()
	return db
}

// conflicts answers with a conflict the nth time, from 1, that a text is run.
type conflicts struct {
	at    map[string][]int
	count map[string]int
}

func (c *conflicts) answer(s fakepg.Statement) fakepg.Reply {
	if s.Describing {
		return fakepg.Reply{}
	}
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.count[s.SQL]++
	if slices.Contains(c.at[s.SQL], c.count[s.SQL]) {
		return fakepg.Reply{Err: fakepg.Conflict()}
	}
	if strings.HasPrefix(s.SQL, "UPDATE") {
		return fakepg.Reply{Tag: "UPDATE 1"}
	}
	return fakepg.Reply{}
}

func update(k int) string { return fmt.Sprintf("UPDATE kv SET v = v + 1 WHERE k = %d", k) }

func TestRoundTripsOfACleanTransaction(t *testing.T) {
	for _, n := range []int{1, 3, 10} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			srv := fakepg.Start(t, fakepg.Answer((&conflicts{}).answer))
			db := openFake(t, srv)
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			for i := range n {
				_, err := tx.ExecContext(t.Context(), update(i))
				require.NoError(t, err)
			}
			require.NoError(t, tx.Commit())
			assert.Equal(t, n+1, srv.RoundTrips(), srv.Exchanges())
		})
	}
}

func TestRoundTripsOfAConflict(t *testing.T) {
	for name, tc := range map[string]struct {
		at    string
		trips int
	}{
		"on the last of 10 statements": {update(9), 12},
		"at the commit":                {"RELEASE SAVEPOINT cockroach_restart", 13},
	} {
		t.Run(name, func(t *testing.T) {
			c := &conflicts{at: map[string][]int{tc.at: {1}}}
			srv := fakepg.Start(t, fakepg.Answer(c.answer))
			db := openFake(t, srv)
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			for i := range 10 {
				res, err := tx.ExecContext(t.Context(), update(i))
				require.NoError(t, err)
				n, err := res.RowsAffected()
				require.NoError(t, err)
				require.EqualValues(t, 1, n)
			}
			require.NoError(t, tx.Commit())
			assert.Equal(t, tc.trips, srv.RoundTrips(), srv.Exchanges())
			assert.Equal(t, 1, c.count["BEGIN"])
		})
	}
}

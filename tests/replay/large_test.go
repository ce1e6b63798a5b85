package replay_test

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A replay whose statements fill the buffers on their way out, while the answers to its first ones fill those on their
// way back: who only wrote before reading would wait for ever.
func TestReplay_LargerThanAllBuffers(t *testing.T) {
	t.Parallel()
	const statements = 10_000
	row := [][]byte{bytes.Repeat([]byte("a"), 2_000)}
	arg := string(bytes.Repeat([]byte("b"), 500))
	updates := kit.Script{"UPDATE c": {kit.Conflict, kit.OK}}
	st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
		if s.SQL != "SELECT v WHERE k = $1" {
			return updates.Reply(s)
		}
		return fakepg.Reply{
			Columns: kit.Column("v", pgtype.TextOID), ParamOIDs: []uint32{pgtype.TextOID}, Rows: [][][]byte{row},
		}
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
	assert.Equal(t, 2*statements, st.Times("SELECT v WHERE k = $1"))
}

// Of a replay not more is under way at a time than may be held in memory. Each portion is compared like the whole, and
// a conflict in any of them starts from the top.
func TestReplay_ManyBytes_IsSentInPortions(t *testing.T) {
	t.Parallel()
	const statements = 300
	same := kit.Texts(strings.Repeat("a", 35<<10)) // so that there are three portions
	nth := func(n, changedFrom int, other fakepg.Reply) fakepg.Reply {
		if n >= changedFrom {
			return other
		}
		return same
	}
	for name, tc := range map[string]struct {
		from     int          // from this execution on
		other    fakepg.Reply // it answers so
		trips    int
		diverges int // the statement
	}{
		"the same":                         {3 * statements, kit.OK, 3, 0},
		"a row of the third is another":    {statements + 290, kit.Texts("x"), 3, 290},
		"a row of the second is another":   {statements + 150, kit.Texts("x"), 2, 150},
		"the second loses, and then again": {statements + 200, kit.Conflict, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			updates, lost := kit.Script{"UPDATE c": {kit.Conflict, kit.OK}}, &atomic.Bool{}
			st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
				switch {
				case s.SQL != "SELECT v WHERE k = $1":
					return updates.Reply(s)
				case tc.trips == 0 && s.Nth == tc.from && !lost.Swap(true):
					return kit.Conflict
				case tc.trips == 0 || s.Describing:
					return same
				}
				return nth(s.Nth, tc.from, tc.other)
			})
			tx := st.Begin(t)
			for range statements {
				var v string
				require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT v WHERE k = $1", "b").Scan(&v))
			}
			before := st.Server.RoundTrips()
			err := kit.ExecAll(tx, "UPDATE c")
			if tc.diverges > 0 {
				kit.WantDivergence(t, err, cockroachdb.DivergenceError{
					Statement: tc.diverges, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2,
				})
				require.NoError(t, tx.Rollback())
				assert.Equal(t, 1+tc.trips+1, st.Server.RoundTrips()-before, "with ROLLBACK")
				st.WantKept(t)
				return
			}
			require.NoError(t, err)
			if tc.trips > 0 {
				assert.Equal(t, 1+tc.trips, st.Server.RoundTrips()-before)
			}
			require.NoError(t, tx.Commit())
			attempt := st.LastAttempt()
			assert.Len(t, attempt, statements+1, "each once in the attempt that commits")
		})
	}
}

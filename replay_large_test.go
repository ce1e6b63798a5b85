package cockroachdb_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
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

// Of a replay not more is under way at a time than may be held in memory. Each portion is compared like the whole, and a conflict in any of them starts from the top.
func TestReplayInPortions(t *testing.T) {
	t.Parallel()
	const statements = 300
	same := vs(strings.Repeat("a", 35<<10)) // so that there are three portions
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
		"the same":                         {3 * statements, won, 3, 0},
		"a row of the third is another":    {statements + 290, vs("x"), 3, 290},
		"a row of the second is another":   {statements + 150, vs("x"), 2, 150},
		"the second loses, and then again": {statements + 200, lost, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			updates, losses := playbook{"UPDATE c": {lost, won}}, &atomicOnce{}
			st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
				switch {
				case s.SQL != "SELECT v WHERE k = $1":
					return updates.answer(s)
				case tc.trips == 0 && s.Nth == tc.from && losses.first():
					return lost
				case tc.trips == 0 || s.Describing:
					return same
				}
				return nth(s.Nth, tc.from, tc.other)
			})
			tx := st.begin(t)
			for range statements {
				var v string
				require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT v WHERE k = $1", "b").Scan(&v))
			}
			before := st.srv.RoundTrips()
			err := execAll(tx, "UPDATE c")
			if tc.diverges > 0 {
				requireDivergence(t, err, cockroachdb.DivergenceError{
					Statement: tc.diverges, Kind: cockroachdb.DivergedRow, Row: 1, Attempts: 2,
				})
				assert.Equal(t, 1+tc.trips, st.srv.RoundTrips()-before)
				st.mustEnd(t, tx)
				return
			}
			require.NoError(t, err)
			if tc.trips > 0 {
				assert.Equal(t, 1+tc.trips, st.srv.RoundTrips()-before)
			}
			require.NoError(t, tx.Commit())
			attempt := st.lastAttempt()
			assert.Len(t, attempt, statements+1, "each once in the attempt that commits")
		})
	}
}

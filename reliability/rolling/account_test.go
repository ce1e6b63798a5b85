package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/reliability/history"
)

// loaded runs the load through pgx for a second, with no node going away.
func loaded(t *testing.T) (*sql.DB, *crew) {
	t.Helper()
	var dials atomic.Int64
	o := options{workers: 4, accounts: 200, duration: time.Second}
	db, err := openPool(allDrivers[0], enginetest.NewDB(t), o, &dials)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	require.NoError(t, createBank(t.Context(), db, o.accounts))
	require.NoError(t, createLists(t.Context(), db, o.lists()))
	ctx, cancel := context.WithTimeout(t.Context(), o.duration)
	defer cancel()
	c := newCrew(db, o)
	work(ctx, c.all(), newTally())
	assert.Positive(t, dials.Load())
	return db, c
}

// committed returns the numbers of transfers that were told to be committed.
func (c *crew) committed() (ids []int64) {
	for _, t := range c.tellers {
		for i, told := range t.told {
			if told == history.Committed {
				ids = append(ids, t.id(i))
			}
		}
	}
	return ids
}

func TestAccount_NothingPlanted_NothingFound(t *testing.T) {
	t.Parallel()
	db, c := loaded(t)
	a, err := accountFor(t.Context(), db, c.tellers)
	require.NoError(t, err)
	assert.Positive(t, a.transfers)
	assert.Equal(t, account{transfers: a.transfers}, a)
	found, err := checkLists(t.Context(), db, c.clerks)
	require.NoError(t, err)
	assert.Empty(t, found)
}

// TestAccount_Planted_CountedExactly plants a lost transfer, two that are doubled, one that rose, one that was
// ambiguous and is there, and two balances that are wrong.
func TestAccount_Planted_CountedExactly(t *testing.T) {
	t.Parallel()
	db, c := loaded(t)
	ids := c.committed()
	require.Greater(t, len(ids), 4)
	const again = `INSERT INTO journal (transfer, debit, credit, amount)
		SELECT transfer, debit, credit, 0 FROM journal WHERE transfer = $1`
	plant(t, db, "UPDATE journal SET transfer = -1 WHERE transfer = $1", ids[0])
	plant(t, db, again, ids[1])
	plant(t, db, again, ids[2])
	c.tell(ids[3], history.Failed)
	c.tell(ids[4], history.Unknown)
	plant(t, db, "UPDATE accounts SET balance = balance + 1 WHERE id IN ($1, $2)", 7, 8)
	a, err := accountFor(t.Context(), db, c.tellers)
	require.NoError(t, err)
	assert.Equal(t, account{lost: 1, doubled: 2, risen: 1, decided: 1, unbooked: 2, transfers: a.transfers}, a)
}

// tell has a teller be told another outcome of one of its transfers.
func (c *crew) tell(id int64, outcome history.Outcome) {
	for _, t := range c.tellers {
		for i := range t.told {
			if t.id(i) == id {
				t.told[i] = outcome
			}
		}
	}
}

func plant(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	done, err := db.ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
	n, err := done.RowsAffected()
	require.NoError(t, err)
	require.Positive(t, n)
}

func TestLists_Planted_Found(t *testing.T) {
	t.Parallel()
	for name, planted := range map[string]struct {
		statement string
		want      history.Class
	}{
		"lost":    {"UPDATE lists SET v = replace(',' || v, ',%d,', ',') WHERE k = %d", history.LostWrite},
		"doubled": {"UPDATE lists SET v = v || '%d,' WHERE k = %d", history.Duplicate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, c := loaded(t)
			o := c.anAppend(t)
			plant(t, db, fmt.Sprintf(planted.statement, o.Append, o.Key))
			plant(t, db, "UPDATE lists SET v = ltrim(v, ',') WHERE k = $1", o.Key)
			found, err := checkLists(t.Context(), db, c.clerks)
			require.NoError(t, err)
			isPlanted := func(a history.Anomaly) bool { return a.Class == planted.want }
			assert.True(t, slices.ContainsFunc(found, isPlanted), "%v", found)
		})
	}
}

// anAppend returns one that was committed.
func (c *crew) anAppend(t *testing.T) history.Op {
	t.Helper()
	for _, k := range c.clerks {
		for _, txn := range k.txns {
			if txn.Outcome == history.Committed && txn.Ops[0].Append != 0 {
				return txn.Ops[0]
			}
		}
	}
	t.Fatal("nothing was appended")
	return history.Op{}
}

package main

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMoneyLost has a kind of transfer that takes and does not give.
func TestMoneyLost(t *testing.T) {
	opts, err := parseOptions(short("-duration", "300ms"), io.Discard)
	require.NoError(t, err)
	opts.kinds = []kind{{name: "theft", title: "theft", do: func(ctx context.Context, tx *sql.Tx, t transfer) error {
		_, err := tx.ExecContext(ctx, sqlAdd, t.from, -t.amount)
		return err
	}}}
	var stdout, stderr bytes.Buffer
	for range 20 { // on a busy machine nothing may have been committed in that time
		stdout.Reset()
		err = run(t.Context(), opts, &stdout, &stderr)
		if strings.Count(stdout.String(), "AND NOT TO") == 2 {
			break
		}
	}
	require.ErrorIs(t, err, errBalances)
	assert.Regexp(t, `With pgx.* add up to 3,\d\d\d,\d\d\d AND NOT TO 4,000,000!`, stdout.String())
	assert.Regexp(t, `With cockroachdb.* add up to 3,\d\d\d,\d\d\d AND NOT TO 4,000,000!`, stdout.String())
	assert.Equal(t, exitFailure, status(t.Context(), err, &stderr))
	assert.Contains(t, stderr.String(), "THE BALANCES DO NOT ADD UP")
}

// TestInsert_KeysShown has transfers note the keys that they were shown, and looks for these when all have committed.
func TestInsert_KeysShown_AreInTheJournal(t *testing.T) {
	for _, contention := range []string{likeCockroach, likePostgreSQL} {
		t.Run(contention, func(t *testing.T) {
			opts, err := parseOptions(short("-contention", contention, "-drivers", "cockroachdb"), io.Discard)
			require.NoError(t, err)
			var shown sync.Map
			var looked atomic.Int64
			note := func(ctx context.Context, tx *sql.Tx, next transfer) error {
				id, err := insert(ctx, tx, next)
				if err != nil {
					return err
				}
				shown.Store(id, next.amount)
				return blind(ctx, tx, next)
			}
			look := func(ctx context.Context, tx *sql.Tx, _ transfer) error {
				for id, amount := range shown.Range {
					var got int64
					err := tx.QueryRowContext(ctx, "SELECT amount FROM transfers WHERE id = $1", id).Scan(&got)
					require.NoError(t, err, "transfer %d", id)
					require.Equal(t, amount, got, "transfer %d", id)
					looked.Add(1)
				}
				return nil
			}
			opts.kinds = []kind{{name: "note", title: "note", do: note}, {name: "look", title: "look", do: look}}
			require.NoError(t, run(t.Context(), opts, io.Discard, io.Discard))
			assert.Positive(t, looked.Load())
		})
	}
}

// TestOtherErrors has a kind of transfer that fails, and not with a conflict.
func TestOtherErrors(t *testing.T) {
	opts, err := parseOptions(short("-postgres"), io.Discard)
	require.NoError(t, err)
	opts.kinds = []kind{{name: "typo", title: "typo", do: func(ctx context.Context, tx *sql.Tx, _ transfer) error {
		_, err := tx.ExecContext(ctx, "UPDATE acounts SET balance = 0")
		return err
	}}}
	err = run(t.Context(), opts, io.Discard, io.Discard)
	require.ErrorContains(t, err, "pgx: typo: ")
	require.ErrorContains(t, err, "42P01")
}

func TestRandomTransfer(t *testing.T) {
	const accounts = 3
	rnd, seen := rand.New(rand.NewPCG(1, 2)), make(map[[2]int64]bool)
	for range 1000 {
		next := randomTransfer(rnd, accounts)
		assert.Positive(t, next.amount)
		seen[[2]int64{next.from, next.to}] = true
	}
	assert.Len(t, seen, accounts*(accounts-1), "each pair")
	for pair := range seen {
		assert.NotEqual(t, pair[0], pair[1])
		assert.True(t, 1 <= min(pair[0], pair[1]) && max(pair[0], pair[1]) <= accounts, "%v", pair)
	}
}

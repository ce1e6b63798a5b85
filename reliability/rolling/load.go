package main

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cockroachdb/cockroach-go/v2/crdb"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// A client does one thing after the other, and writes down what it was told.
type client interface {
	step(ctx context.Context, rnd *rand.Rand) (history.Outcome, error)
}

// errGaveUp is why those are cancelled that are still waiting for an answer long after the end.
var errGaveUp = errors.New("it was still waiting after the run had ended")

// patience is how long that is.
const patience = 30 * time.Second

// work has all clients take steps until ctx ends. A step that has begun is finished, within patience.
func work(ctx context.Context, clients []client, t *tally) {
	steps, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	late := context.AfterFunc(ctx, func() {
		if sleep(steps, patience) == nil {
			giveUp(errGaveUp)
		}
	})
	defer late()
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for ctx.Err() == nil {
				began := time.Now()
				outcome, err := c.step(steps, rnd)
				if err != nil && steps.Err() != nil {
					err = errors.Join(err, context.Cause(steps))
				}
				t.add(began, outcome, err)
			}
		})
	}
	all.Wait()
}

// A transactor runs a transaction, and says what the application may conclude.
type transactor func(ctx context.Context, db *sql.DB, body func(*sql.Tx) error) (history.Outcome, error)

func (o options) transactor() transactor {
	if o.loops {
		return byExecuteTx
	}
	return plainly
}

// plainly is a transaction as applications write it.
func plainly(ctx context.Context, db *sql.DB, body func(*sql.Tx) error) (history.Outcome, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return history.Failed, err
	}
	if err := body(tx); err != nil {
		_ = tx.Rollback() // it has failed already, and that is what is told
		return history.Failed, err
	}
	err = tx.Commit()
	return outcomeOfCommit(err), err
}

// byExecuteTx is a transaction of an application with cockroach-go.
func byExecuteTx(ctx context.Context, db *sql.DB, body func(*sql.Tx) error) (history.Outcome, error) {
	ran, failed := false, error(nil)
	err := crdb.ExecuteTx(ctx, db, nil, func(tx *sql.Tx) error {
		ran, failed = true, body(tx)
		return failed
	})
	switch {
	case is[*crdb.AmbiguousCommitError](err):
		return history.Unknown, err
	case err != nil && (!ran || failed != nil), is[*crdb.TxnRestartError](err):
		return history.Failed, err
	}
	return outcomeOfCommit(err), err
}

// execAll runs statements one after the other, to set up.
func execAll(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

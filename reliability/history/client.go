package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// A Way is how an application runs a transaction through the driver.
type Way bool

// The two ways there are.
const (
	Plain   Way = false // BeginTx, statements, Commit
	Closure Way = true  // RunTx
)

// errAbandoned is why a client rolls back that has changed its mind.
var errAbandoned = errors.New("the client has changed its mind")

// transact runs body in a transaction. With Closure it may run more than once.
func transact(ctx context.Context, db *sql.DB, way Way, body func(*sql.Tx) error) error {
	if way == Closure {
		return cockroachdb.RunTx(ctx, db, nil, body)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := body(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// outcomeOf is what the driver has promised by answering with err.
func outcomeOf(err error) Outcome {
	var ambiguous *cockroachdb.AmbiguousCommitError
	switch {
	case err == nil:
		return Committed
	case errors.As(err, &ambiguous):
		return Unknown
	}
	return Failed
}

// expected says whether a client that meets conflicts and faults may be answered with err. Any other error is a
// mistake in the test.
func expected(err error) bool {
	var (
		ambiguous     *cockroachdb.AmbiguousCommitError
		diverged      *cockroachdb.DivergenceError
		lost          *cockroachdb.ConnectionLostError
		exhausted     *cockroachdb.RetriesExhaustedError
		notReplayable *cockroachdb.NotReplayableError
		server        *pgconn.PgError
	)
	switch {
	case err == nil, errors.Is(err, errAbandoned), errors.Is(err, pgx.ErrTxCommitRollback),
		errors.As(err, &ambiguous), errors.As(err, &diverged), errors.As(err, &lost),
		errors.As(err, &exhausted), errors.As(err, &notReplayable):
		return true
	case errors.As(err, &server):
		return server.Code == "40001" || server.Code == "40P01" || server.Code == "25P02"
	}
	return false
}

// Run has each of so many clients take so many steps, at the same time. It returns the first error that is none of
// those which clients have to expect.
func Run(
	ctx context.Context, clients, steps int, seed uint64,
	step func(ctx context.Context, client int, rnd *rand.Rand) error,
) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(client)))
			for i := 0; i < steps && ctx.Err() == nil; i++ {
				if err := step(ctx, client, rnd); !expected(err) {
					stop(fmt.Errorf("client %d, step %d: %w", client, i, err))
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// notes is what clients write down, all in one book.
type notes[T any] struct {
	mu   sync.Mutex
	list []T
}

func (n *notes[T]) add(entries ...T) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, entries...)
}

func (n *notes[T]) all() []T {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.list
}

// execAll runs statements outside of a transaction, to set up a workload.
func execAll(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// collect reads all rows of a query, each by scan.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

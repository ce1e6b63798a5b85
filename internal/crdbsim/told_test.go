package crdbsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// told is what a program can tell an error of pgx's by. Whether a connection that was lost shows as EOF, as a reset, or
// as one that pgx has closed, depends on whether the write or the read comes first.
func told(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Sprint(e.Severity, " ", e.Code, " ", e.Message)
	}
	for is, name := range map[error]string{
		nil:                      "nil",
		io.ErrUnexpectedEOF:      "lost",
		pgconn.ErrConnClosed:     "lost",
		syscall.ECONNRESET:       "lost",
		syscall.EPIPE:            "lost",
		syscall.ECONNREFUSED:     "refused",
		context.DeadlineExceeded: "deadline",
	} {
		if errors.Is(err, is) {
			return name
		}
	}
	return err.Error()
}

// TestNode_WhatPgxSees has two connections to a node that goes, one idle and one in a transaction, and one that is
// yet to come. Of an error of severity ERROR pgx waits for the ReadyForQuery, and so shows nothing of it.
func TestNode_WhatPgxSees(t *testing.T) {
	t.Parallel()
	ofPostgreSQL := Error{Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command"}
	for name, c := range map[string]struct {
		leave                func(*Node)
		login, idle, working string
	}{
		"unready":  {enter(Unready), "nil", "nil", "nil"},
		"refusing": {enter(Refusing), tryAnother, "nil", "nil"},
		"closing":  {enter(Closing), tryAnother, "lost", "nil"},
		"bare":     {enter(ClosingBare), tryAnother, "lost", "nil"},
		"ended":    {enter(Ended), tryAnother, "lost", "lost"},
		"dead":     {(*Node).Kill, "refused", "lost", "lost"},
		"fatal":    {func(n *Node) { n.Sim.Drain(ofPostgreSQL) }, "nil", "FATAL 57P01 " + ofPostgreSQL.Message, "nil"},
		"full":     {func(n *Node) { n.LimitConns(2) }, tooManyNow, "nil", "nil"},
		"silent":   {(*Node).Silence, "deadline", "deadline", "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := time.Minute
			if c.login == "deadline" {
				patience = 100 * time.Millisecond
			}
			w := newCluster(t)
			n := w.Node(2)
			dsn := n.DSN(superuser, "postgres")
			idle, working := w.pgx(t, dsn), w.pgx(t, dsn)
			tx, err := working.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), update)
			require.NoError(t, err)
			c.leave(n)
			assert.Equal(t, c.login, told(within(t, patience, func(ctx context.Context) error {
				conn, err := pgx.Connect(ctx, dsn)
				if err == nil {
					_ = conn.Close(ctx)
				}
				return err
			})))
			assert.Equal(t, c.idle, told(within(t, patience, func(ctx context.Context) error {
				_, err := idle.Exec(ctx, read)
				return err
			})))
			assert.Equal(t, c.working, told(within(t, patience, func(ctx context.Context) error {
				_, err := tx.Exec(ctx, update)
				return err
			})))
			if c.working == "nil" {
				require.NoError(t, tx.Commit(t.Context()))
				assert.Equal(t, 12, w.value(t, 1))
				return
			}
			require.Error(t, tx.Commit(t.Context()))
			require.NoError(t, n.Return())
			w.pgx(t, dsn)
			w.awaitUnlocked(t)
			assert.Equal(t, 10, w.value(t, 1))
		})
	}
}

func enter(p Phase) func(*Node) {
	return func(n *Node) { _ = n.Enter(p) }
}

func within(t *testing.T, patience time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return f(ctx)
}

// awaitUnlocked waits until nobody holds a lock on the first row.
func (w *clusterTestbed) awaitUnlocked(t *testing.T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), postgres.dsn())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "SET lock_timeout = '60s'; SELECT FROM "+w.schema+".kv WHERE k = 1 FOR UPDATE")
	require.NoError(t, err)
}

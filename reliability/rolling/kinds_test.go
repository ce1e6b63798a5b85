package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/reliability/history"
)

func server(code string) error { return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}) }

func TestOutcomeOfCommit(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]history.Outcome{
		nil:                                 history.Committed,
		server("40001"):                     history.Failed,
		server("23505"):                     history.Failed,
		pgx.ErrTxCommitRollback:             history.Failed,
		sql.ErrTxDone:                       history.Failed,
		&cockroachdb.DivergenceError{}:      history.Failed,
		&pgconn.ConnectError{}:              history.Failed,
		server("40003"):                     history.Unknown,
		server("57P01"):                     history.Unknown,
		server("57014"):                     history.Unknown,
		server("08006"):                     history.Unknown,
		server("58C00"):                     history.Unknown,
		server("XXUUU"):                     history.Unknown,
		io.ErrUnexpectedEOF:                 history.Unknown,
		syscall.ECONNRESET:                  history.Unknown,
		context.DeadlineExceeded:            history.Unknown,
		driver.ErrBadConn:                   history.Unknown,
		&cockroachdb.AmbiguousCommitError{}: history.Unknown,
	} {
		assert.Equal(t, want, outcomeOfCommit(err), "%v", err)
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		server("57P01"):                         "SQLSTATE 57P01",
		io.ErrUnexpectedEOF:                     "connection cut",
		syscall.ECONNRESET:                      "connection cut",
		pgconn.ErrConnClosed:                    "connection cut",
		errors.New("failed: conn closed"):       "connection cut",
		syscall.ECONNREFUSED:                    "refused",
		driver.ErrBadConn:                       "bad connection",
		context.DeadlineExceeded:                "timeout",
		errors.New("x"):                         "other",
		errors.Join(errors.New("x"), errGaveUp): "stuck to the end",
		&cockroachdb.DivergenceError{}:          "replay diverged",
		&cockroachdb.RetriesExhaustedError{}:    "retries exhausted",
		&cockroachdb.NotReplayableError{}:       "not replayable",
		&cockroachdb.ConnectionLostError{}:      "connection lost",
	} {
		assert.Equal(t, want, kindOf(err), "%T", err)
	}
}

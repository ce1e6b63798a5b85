package cockroachdb

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

// CockroachDB names the key of a conflict, and so what the application stores.
func TestOwnErrorsLeaveOutTheServersMessage(t *testing.T) {
	t.Parallel()
	server := &pgconn.PgError{Severity: "ERROR", Code: "40001", Message: `restart transaction: TransactionRetryWithProtoRefreshError: WriteTooOldError: write for key /Table/106/1/"alice"/0`, Detail: "alice", Hint: "alice"}
	for _, err := range []error{
		&DivergenceError{Statement: 1, Kind: DivergedRow, Row: 1, err: server},
		&RetriesExhaustedError{Bound: BoundAttempts, err: server},
		&NotReplayableError{Cause: string(causeRaw), err: server},
		&AmbiguousCommitError{err: server},
		&ConnectionLostError{err: server},
	} {
		assert.NotContains(t, err.Error(), "alice")
		assert.Contains(t, err.Error(), "conflict (write_too_old, SQLSTATE 40001)")
		assert.ErrorIs(t, err, server)
	}
}

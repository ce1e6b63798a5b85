package cockroachdb

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

// CockroachDB names the key of a conflict, and so what the application stores.
func TestOwnErrorsLeaveOutTheServersMessage(t *testing.T) {
	t.Parallel()
	const message = `restart transaction: TransactionRetryWithProtoRefreshError: WriteTooOldError: write for key /Table/106/1/"alice"/0`
	server := &pgconn.PgError{Severity: "ERROR", Code: "40001", Message: message, Detail: "alice", Hint: "alice"}
	for _, cause := range []error{
		server,
		fmt.Errorf("paying alice: %w", server),
		foreignError{"40001", message}, // RunTx knows those of other drivers
	} {
		for _, err := range []error{
			&DivergenceError{Statement: 1, Kind: DivergedRow, Row: 1, err: cause},
			&RetriesExhaustedError{Bound: BoundAttempts, err: cause},
			&NotReplayableError{Cause: CauseRaw, err: cause},
			&AmbiguousCommitError{err: cause},
			&ConnectionLostError{err: cause},
		} {
			assert.NotContains(t, err.Error(), "alice")
			assert.Contains(t, err.Error(), "conflict (write_too_old, SQLSTATE 40001)")
			assert.ErrorIs(t, err, cause)
		}
	}
}

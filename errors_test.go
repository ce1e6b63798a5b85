package cockroachdb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// CockroachDB names the key of a conflict, and so what the application stores.
func TestErrors_OfAConflict_LeaveOutTheServersMessage(t *testing.T) {
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

// ownErrors are the driver's own outcomes, by what led to them.
var ownErrors = []func(error) error{
	func(err error) error { return &DivergenceError{err: err} },
	func(err error) error { return &RetriesExhaustedError{err: err} },
	func(err error) error { return &NotReplayableError{Cause: CauseRaw, err: err} },
	func(err error) error { return &AmbiguousCommitError{err: err} },
	func(err error) error { return &ConnectionLostError{err: err} },
	func(err error) error { return &ResultLostError{err: err} },
}

// Applications make such errors for tests of their own.
func TestErrors_MadeByTheApplication_HaveAText(t *testing.T) {
	t.Parallel()
	for _, of := range ownErrors {
		err := of(nil)
		assert.Contains(t, err.Error(), "no reason is known")
		assert.NoError(t, errors.Unwrap(err))
	}
}

// FuzzServerError: whatever an error of the server says, its reason is one of the closed set, an outcome of the
// driver's own does not repeat its message, and after a commit only the codes that are the server's definite word
// count as such.
func FuzzServerError(f *testing.F) {
	f.Add("ERROR", "40001", "restart transaction: TransactionRetryWithProtoRefreshError: (RETRY_SERIALIZABLE): meta={key=/Table/52}")
	f.Add("ERROR", "40001", "could not serialize access due to concurrent update")
	f.Add("ERROR", "40P01", "deadlock detected")
	f.Add("FATAL", "57P01", "terminating connection")
	f.Add("", "0A000", "cached plan must not change result type")
	f.Add("ERROR", "XXA00", "schema change failed")
	f.Add("ERROR", "25000", "")
	f.Add("PANIC", "", "restart transaction: ABORT_REASON_ injected by `inject_retry_errors")
	f.Fuzz(func(t *testing.T, severity, code, message string) {
		server := &pgconn.PgError{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: message}
		assert.True(t, slices.Contains(allReasons, reasonOf(server)))
		for _, wrap := range ownErrors {
			err := wrap(server)
			assert.Equal(t, code, pgerr.SQLState(err))
			quiet := wrap(&pgconn.PgError{Code: code}).Error() // may hold a short message by chance
			if len(message) > 8 && !strings.Contains(quiet, message) {
				assert.NotContains(t, err.Error(), message)
			}
		}
		checkOutcome(t, server, pgerr.OutcomeOfCommit(server, false), false)
		checkOutcome(t, server, pgerr.OutcomeOfCommit(server, true), true)
	})
}

func checkOutcome(t *testing.T, server *pgconn.PgError, outcome pgerr.CommitOutcome, postgres bool) {
	switch outcome {
	case pgerr.CommitConflict:
		assert.True(t, server.Code == "40001" || postgres && server.Code == "40P01")
	case pgerr.CommitSchemaFailed:
		assert.Equal(t, "XXA00", server.Code)
		assert.False(t, postgres)
	case pgerr.CommitRefused:
		if postgres {
			assert.Equal(t, "ERROR", server.Severity)
		} else {
			assert.True(t, server.Code == "3B001" || strings.HasPrefix(server.Code, "25") && server.Code != "25000")
		}
	}
}

func TestResultLostError_Text_HasNoSecret(t *testing.T) {
	const secret = "hunter2"
	answer := &pgconn.PgError{Code: "57P01", Message: secret, Detail: secret, Hint: secret, Where: secret}
	err := &ResultLostError{err: answer}
	assert.NotContains(t, err.Error(), secret)
	assert.Contains(t, err.Error(), "57P01")
	assert.ErrorIs(t, err, answer)
}

package cockroachdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
)

// foreignError is an error as the archived pgconn module makes it: not pgx's type, but with the same method.
type foreignError struct{ code, message string }

func (e foreignError) Error() string    { return "ERROR: " + e.message + " (SQLSTATE " + e.code + ")" }
func (e foreignError) SQLState() string { return e.code }

func pgError(code, message string) *pgconn.PgError {
	return &pgconn.PgError{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message}
}

func TestReasonOf(t *testing.T) {
	const restart = "restart transaction: TransactionRetryWithProtoRefreshError: "
	timeout := &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	for _, test := range []struct {
		err  error
		want retryReason
	}{
		{pgError("40001", restart+`WriteTooOldError: write for key /Table/104/1/1/0 at timestamp 1.5,0 too old; wrote at 1.6,1: "sql txn"`), reasonWriteTooOld},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_WRITE_TOO_OLD - WriteTooOld flag converted to WriteTooOldError): "sql txn"`), reasonWriteTooOld},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_SERIALIZABLE): "sql txn"`), reasonSerializable},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_SERIALIZABLE - failed preemptive refresh due to encountered recently written committed value /Table/1/"ABORT_REASON_X")`), reasonSerializable},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_ASYNC_WRITE_FAILURE - missing intent on key)`), reasonAsyncWriteFailure},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_COMMIT_DEADLINE_EXCEEDED - txn timestamp pushed too much)`), reasonCommitDeadlineExceeded},
		{pgError("40001", restart+`TransactionAbortedError(ABORT_REASON_PUSHER_ABORTED): "sql txn"`), reasonAborted},
		{pgError("40001", restart+`TransactionAbortedError(ABORT_REASON_CLIENT_REJECT): "sql txn"`), reasonAborted},
		{pgError("40001", "restart transaction: HandledRetryableTxnError: ABORT_REASON_ABORT_SPAN"), reasonAborted},
		{pgError("40001", restart+"ReadWithinUncertaintyIntervalError: read at time 1.0,0 encountered previous write"), reasonUncertainty},
		{pgError("40001", "restart transaction: crdb_internal.force_retry(): TransactionRetryWithProtoRefreshError: forced by crdb_internal.force_retry()"), reasonForced},
		{pgError("40001", restart+"injected by `inject_retry_errors_enabled` session variable"), reasonInjected},
		{pgError("40001", restart+"cannot rollback to savepoint after a transaction restart"), reasonOther},
		{pgError("40001", restart+"TransactionRetryError: retry txn (RETRY_REASON_UNKNOWN)"), reasonOther},
		{pgError("40001", "could not serialize access due to concurrent update"), reasonSerializationFailure},
		{foreignError{"40001", restart + "TransactionRetryError: retry txn (RETRY_SERIALIZABLE)"}, reasonSerializable},
		{fmt.Errorf("transfer: %w", pgError("40P01", "deadlock detected")), reasonDeadlock},
		{pgError("0A000", "cached plan must not change result type"), reasonStalePlan},
		{pgError("26000", `prepared statement "s1" does not exist`), reasonStalePlan},
		{pgError("57P01", "server is shutting down"), reasonConnection},
		{pgError("08006", ""), reasonConnection},
		{pgError("58C01", ""), reasonConnection},
		{io.ErrUnexpectedEOF, reasonConnection},
		{fmt.Errorf("receive: %w", io.EOF), reasonConnection},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, reasonConnection},
		{fmt.Errorf("timeout: %w", timeout), reasonOther},
		{context.Canceled, reasonOther},
		{pgError("57014", "query execution canceled"), reasonOther},
		{pgError("23505", "RETRY_SERIALIZABLE"), reasonOther},
		{errors.New("something else"), reasonOther},
		{nil, reasonOther},
	} {
		assert.Equal(t, test.want, reasonOf(test.err), "%v", test.err)
		assert.Contains(t, allRetryReasons, test.want)
	}
}

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

func TestReasonOf_EachError_HasItsReason(t *testing.T) {
	const restart = "restart transaction: TransactionRetryWithProtoRefreshError: "
	timeout := &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	for _, test := range []struct {
		err  error
		want Reason
	}{
		{pgError("40001", restart+`WriteTooOldError: write for key /Table/104/1/1/0 at timestamp 1.5,0 too old; wrote at 1.6,1: "sql txn"`), ReasonWriteTooOld},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_WRITE_TOO_OLD - WriteTooOld flag converted to WriteTooOldError): "sql txn"`), ReasonWriteTooOld},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_SERIALIZABLE): "sql txn"`), ReasonSerializable},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_SERIALIZABLE - failed preemptive refresh due to encountered recently written committed value /Table/1/"ABORT_REASON_X")`), ReasonSerializable},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_ASYNC_WRITE_FAILURE - missing intent on key)`), ReasonAsyncWriteFailure},
		{pgError("40001", restart+`TransactionRetryError: retry txn (RETRY_COMMIT_DEADLINE_EXCEEDED - txn timestamp pushed too much)`), ReasonCommitDeadlineExceeded},
		{pgError("40001", restart+`TransactionAbortedError(ABORT_REASON_PUSHER_ABORTED): "sql txn"`), ReasonAborted},
		{pgError("40001", restart+`TransactionAbortedError(ABORT_REASON_CLIENT_REJECT): "sql txn"`), ReasonAborted},
		{pgError("40001", "restart transaction: HandledRetryableTxnError: ABORT_REASON_ABORT_SPAN"), ReasonAborted},
		{pgError("40001", restart+"ReadWithinUncertaintyIntervalError: read at time 1.0,0 encountered previous write"), ReasonUncertainty},
		{pgError("40001", "restart transaction: crdb_internal.force_retry(): TransactionRetryWithProtoRefreshError: forced by crdb_internal.force_retry()"), ReasonForced},
		{pgError("40001", restart+"injected by `inject_retry_errors_enabled` session variable"), ReasonInjected},
		{pgError("40001", restart+"cannot rollback to savepoint after a transaction restart"), ReasonOther},
		{pgError("40001", restart+"TransactionRetryError: retry txn (RETRY_REASON_UNKNOWN)"), ReasonOther},
		{pgError("40001", "could not serialize access due to concurrent update"), ReasonSerializationFailure},
		{foreignError{"40001", restart + "TransactionRetryError: retry txn (RETRY_SERIALIZABLE)"}, ReasonSerializable},
		{fmt.Errorf("transfer: %w", pgError("40P01", "deadlock detected")), ReasonDeadlock},
		{pgError("0A000", "cached plan must not change result type"), ReasonStalePlan},
		{pgError("26000", `prepared statement "s1" does not exist`), ReasonStalePlan},
		{pgError("57P01", "server is shutting down"), ReasonConnection},
		{pgError("08006", ""), ReasonConnection},
		{pgError("58C01", ""), ReasonConnection},
		{io.ErrUnexpectedEOF, ReasonConnection},
		{fmt.Errorf("receive: %w", io.EOF), ReasonConnection},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, ReasonConnection},
		{fmt.Errorf("timeout: %w", timeout), ReasonOther},
		{context.Canceled, ReasonOther},
		{pgError("57014", "query execution canceled"), ReasonOther},
		{pgError("23505", "RETRY_SERIALIZABLE"), ReasonOther},
		{errors.New("something else"), ReasonOther},
		{nil, ReasonOther},
	} {
		assert.Equal(t, test.want, reasonOf(test.err), "%v", test.err)
		assert.Contains(t, allReasons, test.want)
	}
}

package crdbmodel

import "errors"

// A failure is an error that the client is told.
type failure struct {
	code, message string
	aborted       bool // the transaction was aborted
}

func (f *failure) Error() string { return f.message }

func fail(code, message string) *failure { return &failure{code: code, message: message} }

// unsupported refuses what the model does not know.
func unsupported(what string) *failure {
	return fail("0A000", "crdbmodel, which knows only what the workloads of the module bench need, does not know "+what)
}

const conflict = "40001"

// Messages begin, and have their reason, as on CockroachDB [recorded].
const restartTransaction = "restart transaction: TransactionRetryWithProtoRefreshError: "

var (
	errNotRefreshed = errors.New("what was read has been written since")
	errGone         = fail("57014", "query execution canceled: the client has gone")
)

// isConflict reports whether err is one that a retry may help against.
func isConflict(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.code == conflict
}

func wasAborted(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.aborted
}

func (e *engine) abortedError() error {
	e.counts.Aborted++
	const text = restartTransaction + `TransactionAbortedError(ABORT_REASON_PUSHER_ABORTED): "sql txn"`
	return &failure{code: conflict, message: text, aborted: true}
}

// tooOldError is err, of a refresh, as a statement is answered with.
func (e *engine) tooOldError(err error) error {
	if !errors.Is(err, errNotRefreshed) {
		return err
	}
	e.counts.TooOld++
	const text = restartTransaction + "WriteTooOldError: write too old: RETRY_WRITE_TOO_OLD"
	return fail(conflict, text)
}

// serializableError is err, of a refresh, as a commit is answered with.
func (e *engine) serializableError(err error) error {
	if !errors.Is(err, errNotRefreshed) {
		return err
	}
	e.counts.Unserialized++
	const text = restartTransaction + `TransactionRetryError: retry txn (RETRY_SERIALIZABLE - failed preemptive refresh): "sql txn"`
	return fail(conflict, text)
}

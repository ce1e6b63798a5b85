package fakepg

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// transaction knows where a connection is, by the texts it has seen, and answers the statements that change it as the
// recordings in crdb-traces do (or, without restart savepoints, as PostgreSQL does).
type transaction struct {
	cockroach  bool
	status     byte // 'I', 'T' or 'E'
	commitWait bool // RELEASE of the restart savepoint has committed; the status is still 'T'
	restarted  bool // a 40001 was given: only the restart savepoint can be rolled back to
	touched    bool // a statement other than SAVEPOINT has run
	savepoints []string
}

// verb tells the statements that matter here from the others, which are "".
type verb string

const (
	begin      verb = "BEGIN"
	commit     verb = "COMMIT"
	rollback   verb = "ROLLBACK"
	rollbackTo verb = "ROLLBACK TO"
	savepoint  verb = "SAVEPOINT"
	release    verb = "RELEASE"
)

// parseVerb returns the verb, and the savepoint it names.
func parseVerb(sql string) (verb, string) {
	words := strings.Fields(strings.TrimRight(sql, "; \t\n"))
	if len(words) == 0 {
		return "", ""
	}
	switch strings.ToUpper(words[0]) {
	case "BEGIN", "START":
		return begin, ""
	case "COMMIT", "END":
		return commit, ""
	case "ABORT":
		return rollback, ""
	case "ROLLBACK":
		if len(words) > 1 && slices.ContainsFunc(words[1:], func(w string) bool { return strings.EqualFold(w, "TO") }) {
			return rollbackTo, savepointName(words)
		}
		return rollback, ""
	case "SAVEPOINT":
		return savepoint, savepointName(words)
	case "RELEASE":
		return release, savepointName(words)
	}
	return "", ""
}

func savepointName(words []string) string {
	name := words[len(words)-1]
	if unquoted, ok := strings.CutPrefix(name, `"`); ok {
		return strings.TrimSuffix(unquoted, `"`)
	}
	return strings.ToLower(name)
}

// refuse says whether the state the transaction is in forbids a statement.
func (tx *transaction) refuse(v verb) *pgproto3.ErrorResponse {
	switch {
	case tx.commitWait && v != commit && v != rollback:
		return Error("25000", "current transaction is committed, commands ignored until end of transaction block")
	case tx.status == 'E' && v != commit && v != rollback && v != rollbackTo:
		return Error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
	}
	return nil
}

// apply does what a transaction statement says and returns its tag.
func (tx *transaction) apply(v verb, name string) (string, *pgproto3.ErrorResponse) {
	if tx.status == 'I' && v != begin && (tx.cockroach || (v != commit && v != rollback)) {
		return "", tx.outside(v, name)
	}
	switch v {
	case begin:
		if tx.status != 'I' && tx.cockroach {
			return "", Error("XXUUU", "there is already a transaction in progress")
		}
		tx.status, tx.touched = 'T', false // statements outside of a transaction have touched nothing of this one
		return "BEGIN", nil
	case commit, rollback:
		tag := string(v)
		if tx.status == 'E' {
			tag = "ROLLBACK"
		} else if tx.commitWait {
			tag = "COMMIT"
		}
		tx.end()
		return tag, nil
	case savepoint:
		return tx.save(name)
	case release:
		return tx.release(name)
	default:
		return tx.rollbackTo(name)
	}
}

func (tx *transaction) outside(v verb, name string) *pgproto3.ErrorResponse {
	switch {
	case !tx.cockroach:
		return Error("25P01", string(v)+" can only be used in transaction blocks")
	case v == rollbackTo:
		return noSavepoint(name)
	default:
		return Error("XXUUU", "there is no transaction in progress")
	}
}

func (tx *transaction) save(name string) (string, *pgproto3.ErrorResponse) {
	if tx.isRestart(name) {
		switch {
		case slices.ContainsFunc(tx.savepoints, func(s string) bool { return !tx.isRestart(s) }):
			return "", Error("42601", `SAVEPOINT "`+name+`" cannot be nested`)
		case tx.touched:
			return "", Error("42601", `SAVEPOINT "`+name+`" needs to be the first statement in a transaction`)
		case slices.Contains(tx.savepoints, name):
			return "SAVEPOINT", nil
		}
	}
	tx.savepoints = append(tx.savepoints, name)
	return "SAVEPOINT", nil
}

func (tx *transaction) release(name string) (string, *pgproto3.ErrorResponse) {
	at := lastIndex(tx.savepoints, name)
	if at < 0 {
		return "", noSavepoint(name)
	}
	tx.savepoints = tx.savepoints[:at]
	if tx.isRestart(name) {
		tx.commitWait = true
		return "COMMIT", nil
	}
	return "RELEASE", nil
}

func (tx *transaction) rollbackTo(name string) (string, *pgproto3.ErrorResponse) {
	at := lastIndex(tx.savepoints, name)
	switch {
	case at < 0:
		return "", noSavepoint(name)
	case tx.restarted && !tx.isRestart(name):
		return "", Error("40001", "restart transaction: TransactionRetryWithProtoRefreshError: "+
			"cannot rollback to savepoint after a transaction restart")
	}
	tx.savepoints = tx.savepoints[:at+1]
	if tx.isRestart(name) {
		tx.touched, tx.restarted = false, false
	}
	tx.status = 'T'
	return "ROLLBACK", nil
}

// failed takes note of an error that was sent in answer to v.
func (tx *transaction) failed(v verb, code string) {
	switch {
	case v == commit:
		tx.end() // a COMMIT that fails ends the transaction all the same
	case tx.status == 'I' || tx.commitWait:
	default:
		tx.status = 'E'
		tx.restarted = tx.restarted || (tx.cockroach && code == "40001")
	}
}

func (tx *transaction) end() { *tx = transaction{cockroach: tx.cockroach, status: 'I'} }

func (tx *transaction) isRestart(name string) bool {
	return tx.cockroach && strings.HasPrefix(name, "cockroach_restart")
}

func noSavepoint(name string) *pgproto3.ErrorResponse {
	return Error("3B001", `savepoint "`+name+`" does not exist`)
}

func lastIndex(names []string, name string) int {
	for i, n := range slices.Backward(names) {
		if n == name {
			return i
		}
	}
	return -1
}

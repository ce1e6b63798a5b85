package pgerr

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func TestIsConflict(t *testing.T) {
	assert.True(t, IsConflict(pgError("40001", "")))
	assert.True(t, IsConflict(pgError("40P01", "")))
	assert.True(t, IsConflict(fmt.Errorf("transfer: %w", pgError("40001", ""))))
	assert.True(t, IsConflict(errors.Join(io.EOF, foreignError{code: "40001"})))
	for _, err := range []error{nil, io.EOF, pgError("40003", ""), pgError("23505", ""), foreignError{code: "40002"}} {
		assert.False(t, IsConflict(err), "%v", err)
	}
}

func TestIsStalePlan(t *testing.T) {
	assert.True(t, IsStalePlan(pgError("26000", `prepared statement "s1" does not exist`)))
	assert.True(t, IsStalePlan(fmt.Errorf("run: %w", pgError("0A000", "cached plan must not change result type"))))
	assert.True(t, IsStalePlan(foreignError{"0A000", "cached plan must not change result type"}))
	assert.False(t, IsStalePlan(pgError("0A000", "cannot rollback to savepoint after error")))
	assert.False(t, IsStalePlan(pgError("40001", "cached plan must not change result type")))
	assert.False(t, IsStalePlan(io.EOF))
	assert.False(t, IsStalePlan(nil))
}

func TestOutcomeOfCommitCockroachDB(t *testing.T) {
	for code, want := range map[string]CommitOutcome{
		"40001": CommitConflict,
		"XXA00": CommitSchemaFailed,
		"25P01": CommitRefused,
		"25P02": CommitRefused,
		"3B001": CommitRefused,
		"25001": CommitRefused,
		"25000": CommitAmbiguous, // current transaction is committed
		"40003": CommitAmbiguous,
		"40P01": CommitAmbiguous,
		"57014": CommitAmbiguous,
		"57P01": CommitAmbiguous,
		"08006": CommitAmbiguous,
		"23505": CommitAmbiguous,
		"XX000": CommitAmbiguous,
		"":      CommitAmbiguous,
	} {
		assert.Equal(t, want, OutcomeOfCommit(pgError(code, ""), false), code)
	}
	assert.Equal(t, CommitConflict, OutcomeOfCommit(fmt.Errorf("commit: %w", pgError("40001", "")), false))
	assert.Equal(t, CommitAmbiguous, OutcomeOfCommit(io.EOF, false))
	assert.Equal(t, CommitAmbiguous, OutcomeOfCommit(context.Canceled, false))
}

func TestOutcomeOfCommitPostgreSQL(t *testing.T) {
	for code, want := range map[string]CommitOutcome{
		"40001": CommitConflict,
		"40P01": CommitConflict,
		"23505": CommitRefused, // a deferred constraint
		"57014": CommitRefused,
		"25P02": CommitRefused,
		"XX000": CommitRefused,
		"40003": CommitAmbiguous,
		"57P01": CommitAmbiguous,
		"08P01": CommitAmbiguous,
	} {
		assert.Equal(t, want, OutcomeOfCommit(pgError(code, ""), true), code)
	}
	for _, severity := range []string{"FATAL", "PANIC"} {
		assert.Equal(t, CommitAmbiguous,
			OutcomeOfCommit(&pgconn.PgError{Severity: severity, SeverityUnlocalized: severity, Code: "40001"}, true))
	}
	assert.Equal(t, CommitRefused,
		OutcomeOfCommit(&pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: "23505"}, true))
	assert.Equal(t, CommitRefused, OutcomeOfCommit(&pgconn.PgError{Severity: "ERROR", Code: "23505"}, true))
	assert.Equal(t, CommitAmbiguous, OutcomeOfCommit(&pgconn.PgError{Severity: "FEHLER", Code: "23505"}, true),
		"in what language?")
	assert.Equal(t, CommitAmbiguous, OutcomeOfCommit(io.EOF, true))
}

func TestConflict_FatalOne_IsNone(t *testing.T) {
	fatal := &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "40001"}
	assert.Nil(t, Conflict(fatal), "the connection has ended with it")
	assert.True(t, IsConflict(fatal), "a loop of the application's may run the transaction again")
	assert.NotNil(t, Conflict(pgError("40001", "")))
	assert.Nil(t, Conflict(fmt.Errorf("told: %w", pgError("40001", ""))))
}

func TestMayBeStale(t *testing.T) {
	for _, code := range []string{"26000", "42804", "42703", "22P03", "22003", "08P01", "XX000"} {
		assert.True(t, MayBeStale(pgError(code, "")), code)
	}
	for _, code := range []string{"23505", "40001", "55P03", "57014", "25P02", "0A000", "P0001"} {
		assert.False(t, MayBeStale(pgError(code, "")), code)
	}
}

func TestIsPassing(t *testing.T) {
	for _, code := range []string{"55P03", "57014", "53200", "58030", "57P01", "25P03", "XX000"} {
		assert.True(t, IsPassing(pgError(code, "")), code)
	}
	for _, code := range []string{"23505", "22012", "42P01", "40001", "P0001", "25P02"} {
		assert.False(t, IsPassing(pgError(code, "")), code)
	}
}

func TestIsOfStatement(t *testing.T) {
	for _, code := range []string{"23505", "22012", "40001", "XX000"} {
		assert.True(t, IsOfStatement(pgError(code, "")), code)
		fatal := pgError(code, "")
		fatal.Severity, fatal.SeverityUnlocalized = "FATAL", "FATAL"
		assert.False(t, IsOfStatement(fatal), code)
	}
	for _, code := range []string{"57014", "57P05", "25P03", "25P04"} {
		assert.False(t, IsOfStatement(pgError(code, "")), "%s ends a session that somebody wanted to end", code)
	}
	assert.False(t, IsOfStatement(io.EOF))
	assert.False(t, IsOfStatement(fmt.Errorf("told before: %w", pgError("23505", ""))))
}

func TestEndsNode_WordOfAPooler(t *testing.T) {
	fatal := func(message string) *pgconn.PgError {
		err := pgError("08P01", message)
		err.Severity, err.SeverityUnlocalized = "FATAL", "FATAL"
		return err
	}
	for message, neverSent := range map[string]bool{
		"server conn crashed?": false, "server connection closed": false, "suspend_timeout": false,
		"server shutting down": true, "query_wait_timeout": true,
		"server login has been failing, try again later (server_login_retry)": true,
	} {
		assert.True(t, EndsNode(fatal(message), true), message)
		assert.False(t, EndsNode(fatal(message), false), "it does not hang up: %s", message)
		assert.Equal(t, neverSent, NeverSent(fatal(message)), message)
		assert.False(t, NeverSent(fmt.Errorf("told: %w", fatal(message))), message)

		ofServer := fatal(message)
		ofServer.Routine = "SocketBackend"
		for _, err := range []*pgconn.PgError{pgError("08P01", message), pgError("08006", message), ofServer} {
			assert.False(t, NeverSent(err), message)
		}
		assert.False(t, EndsNode(ofServer, true), message)
	}
	for _, message := range []string{"query timeout", "idle transaction timeout", "database removed", "bad packet", ""} {
		assert.False(t, EndsNode(fatal(message), true), message)
		assert.False(t, NeverSent(fatal(message)), message)
	}
}

func TestIsCancelledByEnd(t *testing.T) {
	canceled := pgError("57014", "")
	assert.True(t, IsCancelledByEnd(canceled, pgError("57P01", "")))
	assert.False(t, IsCancelledByEnd(canceled, nil))
	assert.False(t, IsCancelledByEnd(canceled, canceled))
	assert.False(t, IsCancelledByEnd(canceled, pgError("57P05", "")))
	assert.False(t, IsCancelledByEnd(pgError("23505", ""), pgError("57P01", "")))
}

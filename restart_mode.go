package cockroachdb

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"github.com/reprise-go/cockroachdb/internal/wire"
)

// RestartMode is how transactions go back to their start on CockroachDB. PostgreSQL has but one way, that of
// RestartBegin.
type RestartMode string

// How a transaction can go back to its start.
const (
	// RestartSavepoint goes back to SAVEPOINT cockroach_restart, which keeps the locks and now(), and commits by RELEASE
	// and COMMIT. A transaction that has to wait begins anew all the same. It is the default.
	RestartSavepoint RestartMode = "savepoint"

	// RestartBegin sends ROLLBACK and BEGIN, and commits by COMMIT alone. It is for servers that have no such savepoint:
	// besides what the application sends they need to know BEGIN, COMMIT and ROLLBACK.
	RestartBegin RestartMode = "begin"

	// RestartAuto is RestartBegin where a savepoint is known to cost more than it keeps, by the server's version and the
	// isolation level, and else RestartSavepoint. docs/tuning.md has the table.
	RestartAuto RestartMode = "auto"
)

// validate returns an error if m is none of them. Empty means the default.
func (m RestartMode) validate() error {
	switch m {
	case "", RestartSavepoint, RestartBegin, RestartAuto:
		return nil
	}
	return errors.New("cockroachdb: Config.Restart is not a RestartMode: use RestartSavepoint, RestartBegin or RestartAuto")
}

// savepoints says in which transactions of a connection the driver makes its restart savepoint.
type savepoints struct {
	serializable bool // in those of the default isolation level, if that is not READ COMMITTED, and above
	committed    bool // in those of READ COMMITTED
	asCommitted  bool // the default isolation level is READ COMMITTED
}

// savepointsOn says where a restart savepoint is worth its price on the session s. params are those that it was opened
// with.
func savepointsOn(s *wire.Session, mode RestartMode, params map[string]string) savepoints {
	all := savepoints{serializable: true, committed: true}
	switch {
	case !isCockroachDB(s), mode == RestartBegin:
		return savepoints{}
	case mode != RestartAuto:
		return all
	}
	v := versionOf(s)
	all.asCommitted = slices.ContainsFunc(sessionVariable(params, "default_transaction_isolation"), isCommitted)
	all.committed = !v.since(25, 2) // which rolls back what has failed at once, unless there is a savepoint
	all.serializable = !v.since(26, 2)
	for _, buffered := range sessionVariable(params, "kv_transaction_buffered_writes_enabled") {
		all.serializable = !v.since(25, 2) || !isOn(buffered)
	}
	return all
}

// in reports whether a transaction of this isolation level has a restart savepoint.
func (s savepoints) in(level driver.IsolationLevel) bool {
	switch sql.IsolationLevel(level) {
	case sql.LevelReadCommitted, sql.LevelReadUncommitted:
		return s.committed
	case sql.LevelDefault:
		return s.committed && s.asCommitted || s.serializable && !s.asCommitted
	}
	return s.serializable
}

func isCommitted(level string) bool {
	level = strings.ReplaceAll(strings.ToLower(level), "_", " ")
	return level == "read committed" || level == "read uncommitted"
}

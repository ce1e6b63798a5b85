package cockroachdb

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"regexp"
	"slices"
	"strconv"
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

func (c *Config) setRestart(text string) error {
	c.Restart = RestartMode(text)
	if text == "" || c.Restart.validate() != nil {
		return errors.New("the value is none of them")
	}
	return nil
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

// version is that of a CockroachDB. The zero value is one that is not known, and older than all others.
type version struct{ major, minor int }

func (v version) since(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

func versionOf(s *wire.Session) version { return parseVersion(s.PG.ParameterStatus("crdb_version")) }

var versionNumber = regexp.MustCompile(`\bv([0-9]+)\.([0-9]+)`)

// parseVersion reads a crdb_version.
func parseVersion(text string) (v version) {
	if m := versionNumber.FindStringSubmatch(text); m != nil {
		v.major, _ = strconv.Atoi(m[1])
		v.minor, _ = strconv.Atoi(m[2])
	}
	return v
}

// sessionVariable returns what a session is opened with as the value of a variable, if anything: by a parameter of its
// own or by one of the options ("-c name=value" or "--name=value").
func sessionVariable(params map[string]string, name string) (values []string) {
	for key, value := range params {
		if strings.EqualFold(key, name) {
			values = append(values, value)
		}
	}
	for word := range strings.FieldsSeq(params["options"]) {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "--"), "-c"), "=")
		if strings.EqualFold(strings.ReplaceAll(key, "-", "_"), name) {
			values = append(values, value)
		}
	}
	return values
}

package crdbsim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A kind says who answers a statement: PostgreSQL for an ordinary one, this package for all others.
type kind byte

const (
	kindOrdinary kind = iota
	kindBegin
	kindSavepoint
	kindRelease
	kindRollbackTo
	kindCommit
	kindRollback
	kindSetTransaction
	kindShowStatus // SHOW TRANSACTION STATUS
	kindSet        // of a variable that only CockroachDB has
	kindShow       // of such a variable
	kindInvalid    // CockroachDB wouldn't parse it, or it can't be simulated

	kindSetCharacteristics // SET SESSION CHARACTERISTICS AS TRANSACTION
	kindShowCommit         // SHOW COMMIT TIMESTAMP
)

// A statement is SQL and what could be told about it without PostgreSQL.
type statement struct {
	sql        string
	kind       kind
	word       string // its first word, in lower case
	name       string // of a savepoint or a variable
	value      string // of SET
	reset      bool   // it sets the variable to what it was at start-up
	local      bool   // it sets the variable for the transaction alone
	modes      modes  // of BEGIN and SET TRANSACTION
	forceRetry bool   // it calls crdb_internal.force_retry
	invalid    *pgproto3.ErrorResponse

	database string // that it drops or alters

	sets  bool         // PostgreSQL sets something for the session
	all   bool         // and that is RESET ALL
	calls []setCall    // it sets something by calling set_config
	parts []*statement // the statements of a text that is run whole
}

// modes are those of BEGIN and SET TRANSACTION. Isolation levels are left out: this version has but one.
type modes struct {
	access   string // "READ ONLY", "READ WRITE" or nothing
	priority string // "low", "normal", "high" or nothing
}

// classify recognises what must not reach PostgreSQL as it is.
func classify(sql string) *statement {
	l := lexer{sql: sql}
	first, _ := l.next()
	s := &statement{sql: sql}
	if first.kind == tokenWord {
		s.word = first.text
	}
	switch s.word {
	case "begin", "start", "savepoint", "release", "commit", "end", "rollback", "abort", "set", "reset", "show":
		rest := trimSemicolons(tokens(sql)[1:])
		for _, t := range rest {
			if t.symbol(';') { // several statements where there can be but one: PostgreSQL will say so
				return s
			}
		}
		s.classifyControl(rest)
	case "use":
		s.refuseDatabase()
	case "drop", "alter":
		s.classifyDatabase(tokens(sql)[1:])
	default:
		s.forceRetry = strings.Contains(sql, "crdb_internal.force_retry")
		if strings.Contains(strings.ToLower(sql), "set_config") {
			s.calls = setCalls(tokens(sql))
		}
	}
	return s
}

// classify recognises what this version of CockroachDB does not leave to PostgreSQL.
func (c *conn) classify(sql string) *statement {
	s := classify(sql)
	if s.kind == kindShowCommit && !c.sim.version.atLeast(22, 2) {
		s.kind = kindOrdinary // to PostgreSQL it is a syntax error too
	}
	return s
}

// refuseDatabase refuses to change the database: a session of PostgreSQL stays in the one that it was started for.
func (s *statement) refuseDatabase() {
	s.kind = kindInvalid
	s.invalid = failure("0A000", "crdbsim can't change the database of a session; connect to the other database instead")
}

func trimSemicolons(ts []token) []token {
	for len(ts) > 0 && ts[len(ts)-1].symbol(';') {
		ts = ts[:len(ts)-1]
	}
	return ts
}

// classifyControl looks at what follows the first word of a statement that may be about transactions or variables.
func (s *statement) classifyControl(rest []token) {
	switch s.word {
	case "begin":
		s.kind = kindBegin
		s.parseModes(skip(rest, "transaction", "work"))
	case "start":
		if len(rest) > 0 && rest[0].is("transaction") {
			s.kind = kindBegin
			s.parseModes(rest[1:])
		}
	case "commit", "end":
		s.whole(kindCommit, skip(rest, "transaction", "work"))
	case "abort":
		s.whole(kindRollback, skip(rest, "transaction", "work"))
	case "rollback":
		rest = skip(rest, "transaction", "work")
		if len(rest) > 0 && rest[0].is("to") {
			s.savepoint(kindRollbackTo, skip(rest[1:], "savepoint"))
			return
		}
		s.whole(kindRollback, rest)
	case "savepoint":
		s.savepoint(kindSavepoint, rest)
	case "release":
		s.savepoint(kindRelease, skip(rest, "savepoint"))
	case "show":
		s.classifyShow(rest)
	case "set", "reset":
		s.classifySet(rest)
	}
}

// skip drops the first token if it is one of these words.
func skip(ts []token, words ...string) []token {
	for _, w := range words {
		if len(ts) > 0 && ts[0].is(w) {
			return ts[1:]
		}
	}
	return ts
}

// whole accepts a statement that has nothing more to it.
func (s *statement) whole(k kind, rest []token) {
	if len(rest) > 0 {
		s.syntaxError(rest[0])
		return
	}
	s.kind = k
}

// savepoint accepts a statement that ends with the name of a savepoint.
func (s *statement) savepoint(k kind, rest []token) {
	if len(rest) == 1 && rest[0].name() {
		s.kind, s.name = k, rest[0].text
		return
	}
	if len(rest) > 1 {
		s.syntaxError(rest[1])
		return
	}
	s.syntaxError(token{text: "EOF", pos: len(s.sql)})
}

func (s *statement) syntaxError(at token) {
	s.kind = kindInvalid
	s.invalid = failure("42601", fmt.Sprintf("at or near %q: syntax error", at.text))
	s.invalid.Detail = "source SQL:\n" + s.sql + "\n" + strings.Repeat(" ", at.pos) + "^"
}

// parseModes reads the modes of a transaction, which commas may separate.
func (s *statement) parseModes(ts []token) {
	for len(ts) > 0 {
		n, ok := s.parseMode(ts)
		if !ok {
			s.syntaxError(ts[min(n, len(ts)-1)])
			return
		}
		ts = ts[n:]
	}
}

// parseMode reads one mode and returns how many tokens it took, or the index of the one that is wrong.
func (s *statement) parseMode(ts []token) (n int, ok bool) {
	switch {
	case ts[0].symbol(','), beginWith(ts, "deferrable"):
		return 1, true
	case beginWith(ts, "not", "deferrable"):
		return 2, true
	case beginWith(ts, "isolation", "level"):
		return isolationLevel(ts)
	case beginWith(ts, "read", "only"), beginWith(ts, "read", "write"):
		s.modes.access = "READ " + strings.ToUpper(ts[1].text)
		return 2, true
	case beginWith(ts, "priority"):
		s.modes.priority = wordAt(ts, 1)
		return min(2, len(ts)), slices.Contains([]string{"low", "normal", "high"}, s.modes.priority)
	case beginWith(ts, "as", "of", "system", "time") && len(ts) > 4:
		s.modes.access = "READ ONLY"
		for n = 4; n < len(ts) && !ts[n].symbol(','); n++ {
		}
		return n, true
	}
	return 0, false
}

// isolationLevel reads ISOLATION LEVEL and the level, and returns what parseMode returns.
func isolationLevel(ts []token) (n int, ok bool) {
	switch wordAt(ts, 2) + " " + wordAt(ts, 3) {
	case "read committed", "read uncommitted", "repeatable read":
		return 4, true
	}
	return 3, beginWith(ts[2:], "serializable") || beginWith(ts[2:], "snapshot")
}

func beginWith(ts []token, words ...string) bool {
	for i, w := range words {
		if wordAt(ts, i) != w {
			return false
		}
	}
	return true
}

// wordAt returns the i-th token if there is one and it is a word.
func wordAt(ts []token, i int) string {
	if i < len(ts) && ts[i].kind == tokenWord {
		return ts[i].text
	}
	return ""
}

func (s *statement) classifyShow(rest []token) {
	switch {
	case len(rest) == 2 && rest[0].is("transaction") && rest[1].is("status"):
		s.kind = kindShowStatus
	case len(rest) == 2 && rest[0].is("transaction") && rest[1].is("priority"):
		s.kind, s.name = kindShow, "transaction_priority"
	case len(rest) == 2 && rest[0].is("commit") && rest[1].is("timestamp"):
		s.kind = kindShowCommit
	case len(rest) == 1 && isOwnVariable(rest[0].text):
		s.kind, s.name = kindShow, rest[0].text
	}
}

// classifySet recognises SET TRANSACTION and the variables that PostgreSQL doesn't know.
func (s *statement) classifySet(rest []token) {
	if s.word == "set" && len(rest) > 1 && rest[0].is("transaction") && !rest[1].is("snapshot") {
		s.kind = kindSetTransaction
		s.parseModes(rest[1:])
		return
	}
	s.sets = setsForSession(rest)
	s.local = len(rest) > 0 && rest[0].is("local")
	rest = skip(rest, "session", "local")
	if len(rest) == 0 {
		return
	}
	switch name := rest[0].text; {
	case name == "all":
		s.all = s.word == "reset"
	case name == "database":
		s.refuseDatabase()
	case name == "characteristics":
		s.kind = kindSetCharacteristics
		s.parseModes(skip(skip(rest[1:], "as"), "transaction"))
	case name == "default_transaction_isolation", name == "transaction_isolation": // there is but one level
		s.kind = kindSetCharacteristics
	case isOwnVariable(name):
		s.kind, s.name = kindSet, name
		s.parseValue(rest[1:])
	}
}

// classifyDatabase recognises what PostgreSQL does only if nobody else is connected to the database.
func (s *statement) classifyDatabase(rest []token) {
	if len(rest) == 0 || !rest[0].is("database") {
		return
	}
	rest = skip(skip(rest[1:], "if"), "exists")
	if len(rest) > 0 {
		s.database = rest[0].text
	}
}

// parseValue reads what a variable is set to.
func (s *statement) parseValue(rest []token) {
	if len(rest) > 0 && (rest[0].symbol('=') || rest[0].is("to")) {
		rest = rest[1:]
	}
	for _, t := range rest {
		s.value += t.text
	}
	if s.word == "reset" || strings.EqualFold(s.value, "default") {
		s.value, s.reset = "", true
	}
}

// touchesData reports whether CockroachDB would ask its store for something. SELECT 1 doesn't, and the restart
// savepoint may still come after it.
func (s *statement) touchesData() bool {
	switch s.word {
	case "", "set", "reset", "show", "prepare", "deallocate", "discard":
		return false
	case "select", "values":
		return strings.ContainsAny(s.sql, "(") || strings.Contains(strings.ToLower(s.sql), "from")
	}
	return true
}

// isDDL reports whether the statement changes the schema.
func (s *statement) isDDL() bool {
	switch s.word {
	case "create", "alter", "drop", "truncate", "comment", "grant", "revoke":
		return true
	}
	return false
}

// ownVariables are session variables that CockroachDB has and PostgreSQL has not, with their defaults.
var ownVariables = map[string]string{
	"allow_unsafe_internals":                           "off",
	"autocommit_before_ddl":                            "off",
	"cost_scans_with_default_col_size":                 "off",
	"default_int_size":                                 "8",
	"default_transaction_priority":                     "normal",
	"default_transaction_use_follower_reads":           "off",
	"distsql":                                          "auto",
	"enable_implicit_select_for_update":                "on",
	"enable_implicit_transaction_for_batch_statements": "off",
	"enable_zigzag_join":                               "on",
	"experimental_enable_temp_tables":                  "off",
	"force_savepoint_restart":                          "off",
	"inject_retry_errors_enabled":                      "off",
	"inject_retry_errors_on_commit_enabled":            "off",
	"large_full_scan_rows":                             "1000",
	"optimizer_use_histograms":                         "on",
	"results_buffer_size":                              "16384",
	"serial_normalization":                             "rowid",
	"transaction_priority":                             "normal",
	"transaction_rows_read_err":                        "0",
	"transaction_rows_written_err":                     "0",
	"vectorize":                                        "on",
}

func isOwnVariable(name string) bool {
	_, ok := ownVariables[name]
	return ok
}

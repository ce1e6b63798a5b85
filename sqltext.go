package cockroachdb

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// traits are what the text of a statement says that running it may do. They are kept with a prepared statement, so that its text need
// not be looked at again.
type traits struct {
	ddl         bool // isDDL
	commits     bool // mayCommit
	commitsPart bool // mayCommitPart
	watched     bool // [tx.watch] has to look at it
}

func traitsOf(sql string) traits {
	is := traits{ddl: isDDL(sql), commitsPart: mayCommitPart(sql)}
	is.commits = is.ddl || is.commitsPart || mayBeDDL(sql)
	is.watched = savepointStatement(sql) || asOfSystemTime(sql) || setsForceSavepointRestart(sql)
	return is
}

// isSingleStatement reports whether sql is certain to hold no more than one statement. It is never true of a text with
// two, and false of a few with one: those that CockroachDB and PostgreSQL read differently, those that neither can
// read, and bodies between BEGIN ATOMIC and END.
func isSingleStatement(sql string) bool {
	if strings.IndexByte(sql, ';') < 0 {
		return true
	}
	if checkText(sql) != nil {
		return false
	}
	s := sqlScanner{sql: sql}
	for ended := false; ; {
		switch token := s.next(); {
		case token == tokenEnd:
			return !s.open && !s.odd
		case token == tokenSemicolon:
			ended = true
		case ended, token == tokenParameter && s.glued: // a$1 is a name to the servers, and may go on: a$1$$
			return false
		}
	}
}

// isBlank reports whether sql may hold no statement at all.
func isBlank(sql string) bool {
	s := sqlScanner{sql: sql}
	token := s.next()
	for token == tokenSemicolon {
		token = s.next()
	}
	return token == tokenEnd
}

// restartSavepoint reports whether sql is a SAVEPOINT statement whose name CockroachDB takes for a restart savepoint's:
// one that begins with cockroach_restart, in any case if it is not quoted, in lower case if it is.
func restartSavepoint(sql string) bool {
	s := sqlScanner{sql: sql}
	return isKeyword(s.firstWord(), "savepoint") && s.nextIsRestartName()
}

// releases reports whether sql is a RELEASE statement.
func releases(sql string) bool {
	s := sqlScanner{sql: sql}
	return isKeyword(s.firstWord(), "release")
}

// savepointStatement reports whether sql is a SAVEPOINT statement.
func savepointStatement(sql string) bool {
	s := sqlScanner{sql: sql}
	return isKeyword(s.firstWord(), "savepoint")
}

// asOfSystemTime reports whether sql makes its transaction read the past: BEGIN, START TRANSACTION or SET TRANSACTION
// with AS OF SYSTEM TIME.
func asOfSystemTime(sql string) bool {
	s := sqlScanner{sql: sql}
	switch first := s.firstWord(); {
	case isKeyword(first, "begin"), isKeyword(first, "start"):
	case isKeyword(first, "set"):
		if !isKeyword(s.word(), "transaction") {
			return false
		}
	default:
		return false
	}
	for token := s.next(); token != tokenEnd && token != tokenSemicolon; token = s.next() {
		if token == tokenWord && isKeyword(s.text(), "as") {
			return isKeyword(s.word(), "of") && isKeyword(s.word(), "system") && isKeyword(s.word(), "time")
		}
	}
	return false
}

func isOneOf(word string, keywords ...string) bool {
	for _, keyword := range keywords {
		if isKeyword(word, keyword) {
			return true
		}
	}
	return false
}

// isDDL reports whether sql changes the schema, privileges or owners, by its first word. ANALYZE is DDL to CockroachDB.
func isDDL(sql string) bool {
	s := sqlScanner{sql: sql}
	word := s.firstWord()
	return isOneOf(word, "create", "alter", "drop", "truncate", "grant", "revoke", "comment", "reassign", "refresh", "analyze", "analyse")
}

// mayBeDDL reports whether sql is a statement that CockroachDB takes for DDL though it looks like none, or that may hold one:
// EXECUTE of what PREPARE has prepared, EXPLAIN ANALYZE.
func mayBeDDL(sql string) bool {
	s := sqlScanner{sql: sql}
	word := s.firstWord()
	return isOneOf(word, "execute", "explain", "vacuum", "discard", "import", "restore", "backup")
}

// mayRunAgain reports whether sql, run in a transaction that is rolled back to where it began, may be run again in the
// next attempt. What may not is what a rollback does not undo or what can end the transaction in the middle: CALL and
// DO (a procedure may COMMIT), BEGIN, COMMIT and their like, the release of a restart savepoint, which is a commit,
// PREPARE and DEALLOCATE, and EXECUTE and EXPLAIN, since what they run may be DDL or CALL. An ordinary savepoint, its
// release and a rollback to it may.
func mayRunAgain(sql string) bool {
	s := sqlScanner{sql: sql}
	word := s.firstWord()
	if s.odd {
		return false // a comment that one of the servers takes for ended, and there may be anything behind it
	}
	switch len(word) {
	case len("do"):
		return !isKeyword(word, "do")
	case len("end"):
		return !isKeyword(word, "end")
	case len("call"):
		return !isKeyword(word, "call")
	case len("begin"):
		return !isKeyword(word, "begin") && !isKeyword(word, "start") && !isKeyword(word, "abort")
	case len("commit"):
		return !isKeyword(word, "commit")
	case len("release"):
		return !isKeyword(word, "prepare") && !isKeyword(word, "execute") && !isKeyword(word, "explain") && (!isKeyword(word, "release") || !s.restOfReleaseCommits())
	case len("rollback"):
		return !isKeyword(word, "rollback") || s.restOfRollbackHasTo()
	case len("deallocate"):
		return !isKeyword(word, "deallocate")
	}
	return true
}

// onlyReads reports whether sql reads and does not write, as far as its text tells: a function that it calls may write all the same.
func onlyReads(sql string) bool {
	s := sqlScanner{sql: sql}
	word := s.firstWord()
	if !isOneOf(word, "select", "values", "table", "show") {
		return false
	}
	for token := s.next(); token != tokenEnd; token = s.next() {
		if token == tokenWord && isOneOf(s.text(), "insert", "upsert", "update", "delete", "merge") { // CockroachDB: SELECT … FROM [INSERT …]
			return false
		}
	}
	return !s.odd
}

// isCommit reports whether sql is a COMMIT and nothing else.
func isCommit(sql string) bool {
	s := sqlScanner{sql: sql}
	word := s.firstWord()
	return (isKeyword(word, "commit") || isKeyword(word, "end")) && isSingleStatement(sql)
}

// setsForceSavepointRestart reports whether sql is a SET or RESET of the session variable that makes every savepoint a
// restart savepoint, to whatever value.
func setsForceSavepointRestart(sql string) bool {
	s := sqlScanner{sql: sql}
	if first := s.firstWord(); !isKeyword(first, "set") && !isKeyword(first, "reset") {
		return false
	}
	s.next()
	if word := s.text(); isKeyword(word, "session") || isKeyword(word, "local") {
		s.next()
	}
	return isKeyword(strings.Trim(s.text(), `"`), "force_savepoint_restart")
}

// restOfReleaseCommits reports, behind RELEASE, whether it is a restart savepoint that is released.
func (s *sqlScanner) restOfReleaseCommits() bool {
	name := *s
	if isKeyword(s.word(), "savepoint") {
		name = *s
	}
	return name.nextIsRestartName() || name.odd
}

// restOfRollbackHasTo reports, behind ROLLBACK, whether it is a rollback to a savepoint.
func (s *sqlScanner) restOfRollbackHasTo() bool {
	word := s.word()
	if isKeyword(word, "work") || isKeyword(word, "transaction") {
		word = s.word()
	}
	return isKeyword(word, "to")
}

// nextIsRestartName reports whether the next token is the name of a restart savepoint.
func (s *sqlScanner) nextIsRestartName() bool {
	const prefix = "cockroach_restart"
	switch s.next() {
	case tokenWord:
		name := s.text()
		return len(name) >= len(prefix) && isKeyword(name[:len(prefix)], prefix)
	case tokenName:
		return strings.HasPrefix(s.text(), `"`+prefix)
	default:
		return false
	}
}

// firstWord returns the word that the first statement begins with, or "" if it begins with something else.
func (s *sqlScanner) firstWord() string {
	token := s.next()
	for token == tokenSemicolon { // an empty statement
		token = s.next()
	}
	if token != tokenWord {
		return ""
	}
	return s.text()
}

// word returns the next token if it is a word, and "" if it is something else.
func (s *sqlScanner) word() string {
	if s.next() != tokenWord {
		return ""
	}
	return s.text()
}

// isKeyword reports whether word is keyword, which is in lower case, in any case. As to the servers, only ASCII has
// case: strings.EqualFold would take U+017F for an s.
func isKeyword(word, keyword string) bool {
	if len(word) != len(keyword) {
		return false
	}
	for i := range len(word) {
		c := word[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != keyword[i] {
			return false
		}
	}
	return true
}

// checkText returns an error for what is not text to a server.
func checkText(sql string) error {
	switch {
	case strings.IndexByte(sql, 0) >= 0:
		return errors.New("cockroachdb: the statement holds a NUL character, which SQL text can't")
	case !utf8.ValidString(sql):
		return errors.New("cockroachdb: the statement is not valid UTF-8")
	}
	return nil
}

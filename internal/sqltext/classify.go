package sqltext

// A Class says what running a text may do. The zero value is that of an ordinary statement.
//
// Where the text can be read in more than one way, the class says the worst that it may do.
type Class struct {
	// Several says that the text may hold more than one statement. It is never false of a text with two.
	Several bool

	// Blank says that the text may hold no statement.
	Blank bool

	// Commit says whether the text may commit the transaction that it runs in.
	Commit Commit

	// Partly says that a part of what the text does may be committed when it fails: it has several statements,
	// or calls a procedure, which may commit in its middle.
	Partly bool

	// Once says that the text must not be run a second time outside a transaction after it failed: it is Partly,
	// or it begins or ends a transaction.
	Once bool

	// RowsOnly says that each of several statements only reads or writes rows.
	// PostgreSQL, and CockroachDB since v22.2, run such a text as one transaction.
	RowsOnly bool

	// DDL says that the text changes the schema, privileges or owners.
	DDL bool

	// Reads says that the text only reads, and calls no function that is not known to only read.
	Reads bool

	// ReadsPast says that the text makes its transaction read AS OF SYSTEM TIME.
	ReadsPast bool

	// Copies says that the text is a COPY FROM STDIN or TO STDOUT, which needs messages of its own.
	Copies bool

	// Savepoint says which kind of savepoint the text makes, if it makes one.
	Savepoint Savepoint

	// GoesBack says that the text is a ROLLBACK TO a savepoint that CockroachDB takes for its restart savepoint, and
	// Releases that it is a RELEASE of one.
	GoesBack, Releases bool

	// Session says how the text changes the session for later transactions.
	Session Session

	// Pins says that the text may leave something on the session that can't be made again on another one: a temporary
	// table, a prepared statement, a lock or a cursor that outlives its transaction; or that nobody knows what it
	// leaves there.
	Pins bool

	// Deallocates says that the text deallocates all that is prepared on the server.
	Deallocates bool

	// SetsOnly says that all statements of the text are SET, RESET or USE.
	SetsOnly bool

	// SetsLocally says that the text is a SET LOCAL, until the transaction ends.
	SetsLocally bool

	// ForceSavepoint says what the text sets the session variable force_savepoint_restart to.
	ForceSavepoint Switch
}

// Watched reports whether the text is one of the few that change how its transaction, or its session, is treated.
func (c *Class) Watched() bool {
	return c.ReadsPast || c.Savepoint != NoSavepoint || c.Session != SessionKept || c.SetsLocally ||
		c.ForceSavepoint != SwitchKept
}

// Commits reports whether the text is a commit, and nothing else.
func (c *Class) Commits() bool { return c.Commit == CommitStays || c.Commit == CommitEnds }

// EndsWithSession reports whether nothing of what the text does outlives its session: it only reads, or only sets.
func (c *Class) EndsWithSession() bool { return c.Reads || c.SetsOnly }

// Commit is whether a text may commit the transaction that it runs in.
type Commit uint8

// What a text may do to the transaction that it runs in.
const (
	NoCommit    Commit = iota
	MayCommit          // DDL, a procedure, whatever begins or ends a transaction, and a text with one of these in it
	CommitStays        // commits, and leaves the block open until COMMIT: RELEASE cockroach_restart, SHOW COMMIT TIMESTAMP
	CommitEnds         // COMMIT or END, and nothing else
)

// Savepoint is which kind of savepoint a text makes.
type Savepoint uint8

// The kinds of savepoint.
const (
	NoSavepoint Savepoint = iota
	OrdinarySavepoint
	RestartSavepoint // one that CockroachDB takes for its restart savepoint, by its name
)

// Session is how a text changes the session.
type Session uint8

// The ways to change a session. CockroachDB undoes neither SET nor set_config when the transaction is rolled back,
// PostgreSQL undoes both.
const (
	SessionKept   Session = iota
	SessionSet            // by SET, RESET or USE, before all other statements of the text
	SessionSetMid         // by one of these after another statement of the text, or by set_config
	SessionLasts          // in a way that no server undoes: PREPARE, DEALLOCATE, DISCARD, advisory locks of the session
)

// Switch is what a text sets a variable to that is on or off.
type Switch uint8

// What a variable can be set to. A value that is not understood counts as on.
const (
	SwitchKept Switch = iota
	SwitchOn
	SwitchOff
	SwitchDefault
	SwitchOnLocally // by SET LOCAL, until the transaction ends
)

// Classify says what running sql may do.
func Classify(sql string) Class {
	if !isSingle(sql) {
		return classifySeveral(sql)
	}
	s := scanner{sql: sql}
	return classifyOne(&s)
}

// Worst is the class of a text of which nothing is known.
var Worst = Class{
	Several: true, Blank: true, Commit: MayCommit, Partly: true, Once: true, Session: SessionLasts, Pins: true,
}

// classifySeveral is Classify for a text that may hold several statements.
func classifySeveral(sql string) Class {
	all := Class{
		Several: true, Blank: isBlank(sql), Commit: MayCommit, Partly: true, Once: true, RowsOnly: true, SetsOnly: true,
	}
	s := scanner{sql: sql}
	for s.toStatement() {
		one := classifyOne(&s)
		all.add(&one)
		s.toEnd()
	}
	if s.odd || s.open || checkText(sql) != nil {
		return Worst
	}
	if all.RowsOnly {
		all.Commit = NoCommit
	}
	return all
}

// add adds a further statement of the same text.
func (c *Class) add(one *Class) {
	switch {
	case one.Session == SessionSet && !c.SetsOnly:
		c.Session = max(c.Session, SessionSetMid)
	default:
		c.Session = max(c.Session, one.Session)
	}
	c.SetsOnly = c.SetsOnly && one.SetsOnly
	c.RowsOnly = c.RowsOnly && one.RowsOnly
	c.Pins = c.Pins || one.Pins
	c.DDL = c.DDL || one.DDL
	c.Copies = c.Copies || one.Copies
	c.Deallocates = c.Deallocates || one.Deallocates
	c.ReadsPast = c.ReadsPast || one.ReadsPast
	c.Savepoint = max(c.Savepoint, one.Savepoint)
	if one.ForceSavepoint != SwitchKept {
		c.ForceSavepoint = one.ForceSavepoint
	}
}

// classifyOne classifies the statement that the scanner comes to, by a copy of the scanner.
func classifyOne(at *scanner) Class {
	s := *at
	word := s.firstWord()
	if s.odd { // one of the servers takes a comment for ended, and there may be anything after it
		return Class{Commit: MayCommit, Partly: true, Once: true, Session: SessionLasts, Pins: true}
	}
	for _, e := range byFirstWord[min(len(word), len(byFirstWord)-1)] {
		if isKeyword(word, e.word) {
			if e.look != nil {
				return e.look(e.class, s)
			}
			return e.class
		}
	}
	return ofRows(at)
}

// ofRows is the class of a statement that reads or writes rows, or of something unknown.
func ofRows(at *scanner) Class {
	c := Class{RowsOnly: true, Session: sessionOf(at)}
	c.Pins = c.Session == SessionLasts || c.Session == SessionSetMid || intoTemp(at)
	c.Reads = c.Session == SessionKept && onlyReads(*at)
	s := *at
	c.Blank = !s.toStatement()
	return c
}

// ChangesRows reports whether a single statement changes rows by its first word: it returns some only if it has a
// RETURNING.
func ChangesRows(sql string) bool {
	s := scanner{sql: sql}
	word := s.firstWord()
	return !s.odd && isOneOf(word, "insert", "upsert", "update", "delete", "merge")
}

// An entry is what the first word of a statement says, and what there is to be looked at after it.
type entry struct {
	word  string
	class Class
	look  func(Class, scanner) Class
}

var (
	ddl   = Class{Commit: MayCommit, DDL: true}
	once  = Class{Commit: MayCommit, Once: true}
	part  = Class{Commit: MayCommit, Once: true, Partly: true, Pins: true}
	pins  = Class{RowsOnly: true, Pins: true}
	holds = Class{Commit: MayCommit} // it may hold DDL, or be DDL to CockroachDB though it looks like none
)

// byFirstWord has the entries by the length of their words.
var byFirstWord = func() (table [12][]entry) {
	for _, e := range []entry{
		{word: "create", class: ddl, look: lookCreate},
		{word: "alter", class: ddl},
		{word: "drop", class: ddl},
		{word: "truncate", class: ddl},
		{word: "grant", class: ddl},
		{word: "revoke", class: ddl},
		{word: "comment", class: ddl},
		{word: "reassign", class: ddl},
		{word: "refresh", class: ddl},
		{word: "analyze", class: ddl},
		{word: "analyse", class: ddl},

		{word: "vacuum", class: holds},
		{word: "import", class: holds},
		{word: "restore", class: holds},
		{word: "backup", class: holds},
		{word: "discard", class: holds, look: lookDiscard},
		{word: "explain", class: once, look: lookExplain},
		{word: "execute", class: part},
		{word: "call", class: part},
		{word: "do", class: part},

		{word: "begin", class: once, look: lookBegin},
		{word: "start", class: once, look: lookBegin},
		{word: "abort", class: once},
		{word: "rollback", look: lookRollback},
		{word: "commit", class: once, look: lookCommit},
		{word: "end", class: once, look: lookCommit},
		{word: "savepoint", look: lookSavepoint},
		{word: "release", look: lookRelease},

		{word: "prepare", class: once, look: lookPrepare},
		{
			word:  "deallocate",
			class: Class{Commit: MayCommit, Once: true, Session: SessionLasts, Pins: true},
			look:  lookDeallocate,
		},
		{word: "listen", class: pins},
		{word: "load", class: pins},
		{word: "declare", class: Class{RowsOnly: true}, look: lookDeclare},
		{word: "set", look: lookSet},
		{word: "reset", look: lookReset},
		{word: "use", class: Class{Session: SessionSet, SetsOnly: true}},
		{word: "show", look: lookShow},
		{word: "copy", look: lookCopy},
	} {
		table[len(e.word)] = append(table[len(e.word)], e)
	}
	return table
}()

func lookDiscard(c Class, s scanner) Class {
	c.Session, c.Pins = SessionLasts, true
	if isKeyword(s.word(), "all") {
		c.ForceSavepoint, c.Deallocates = SwitchDefault, true
	}
	return c
}

func lookDeallocate(c Class, s scanner) Class {
	word := s.word()
	if isKeyword(word, "prepare") {
		word = s.word()
	}
	c.Deallocates = isKeyword(word, "all")
	return c
}

// lookExplain looks whether EXPLAIN runs the statement.
func lookExplain(c Class, s scanner) Class {
	for token := s.next(); token != tokenEnd && token != tokenSemicolon; token = s.next() {
		if token == tokenWord && isOneOf(s.text(), "analyze", "analyse", "debug") {
			c.Partly = true
		}
	}
	c.Partly = c.Partly || s.odd
	return c
}

func lookBegin(c Class, s scanner) Class {
	c.ReadsPast = s.restReadsPast()
	return c
}

// lookRollback tells ROLLBACK from ROLLBACK TO.
func lookRollback(c Class, s scanner) Class {
	word := s.word()
	if isOneOf(word, "work", "transaction") {
		word = s.word()
	}
	if s.odd || !isKeyword(word, "to") {
		return once
	}
	c.GoesBack = s.namesRestart() && !s.odd
	return c
}

// namesRestart reports whether a savepoint comes, with or without the word, that is a restart savepoint by its name.
func (s *scanner) namesRestart() bool {
	name := *s
	if isKeyword(s.word(), "savepoint") {
		name = *s
	}
	is := name.nextIsRestartName()
	s.odd = s.odd || name.odd
	return is
}

// lookCommit tells a COMMIT from COMMIT PREPARED, and from what is none.
func lookCommit(c Class, s scanner) Class {
	token := s.next()
	if token == tokenWord && isOneOf(s.text(), "work", "transaction") {
		token = s.next()
	}
	if token == tokenWord && isKeyword(s.text(), "and") {
		word := s.word()
		if isKeyword(word, "no") {
			word = s.word()
		}
		if !isKeyword(word, "chain") {
			return c
		}
		token = s.next()
	}
	if !s.odd && (token == tokenEnd || token == tokenSemicolon) {
		c.Commit = CommitEnds
	}
	return c
}

func lookSavepoint(c Class, s scanner) Class {
	c.Savepoint = OrdinarySavepoint
	if s.nextIsRestartName() {
		c.Savepoint = RestartSavepoint
	}
	return c
}

// lookRelease tells whether it is a restart savepoint that is released, which is a commit.
func lookRelease(c Class, s scanner) Class {
	if s.namesRestart() || s.odd {
		return Class{Commit: CommitStays, Once: true, Releases: !s.odd}
	}
	return c
}

// lookPrepare tells PREPARE TRANSACTION from PREPARE of a statement.
func lookPrepare(c Class, s scanner) Class {
	if !isKeyword(s.word(), "transaction") {
		c.Session, c.Pins = SessionLasts, true
	}
	return c
}

func lookSet(c Class, s scanner) Class {
	name, local := s.variable()
	switch {
	case isKeyword(name, "transaction"):
		c.ReadsPast = s.restReadsPast()
		return c
	case isOneOf(name, "constraints", "cluster"):
		return c
	case local:
		c.SetsLocally = true
	default:
		c.Session, c.SetsOnly = SessionSet, true
	}
	if isKeyword(name, forceSavepointRestart) {
		c.ForceSavepoint = s.restOfSet()
		if local && c.ForceSavepoint == SwitchOn {
			c.ForceSavepoint = SwitchOnLocally
		} else if local {
			c.ForceSavepoint = SwitchKept
		}
	}
	return c
}

func lookReset(c Class, s scanner) Class {
	c.Session, c.SetsOnly = SessionSet, true
	if name, _ := s.variable(); isKeyword(name, forceSavepointRestart) || isKeyword(name, "all") {
		c.ForceSavepoint = SwitchDefault
	}
	return c
}

// lookShow tells SHOW COMMIT TIMESTAMP, which commits, from what only shows.
func lookShow(c Class, s scanner) Class {
	if isKeyword(s.word(), "commit") && isKeyword(s.word(), "timestamp") {
		return Class{Commit: CommitStays, Once: true}
	}
	c.Reads = true
	return c
}

// lookCopy tells whether the client has to send rows, or to receive some, by messages of their own.
func lookCopy(c Class, s scanner) Class {
	for token := s.next(); token != tokenEnd && token != tokenSemicolon; token = s.next() {
		if token == tokenWord && isOneOf(s.text(), "from", "to") && isOneOf(s.word(), "stdin", "stdout") {
			c.Copies = true
			return c
		}
	}
	return c
}

const forceSavepointRestart = "force_savepoint_restart"

// variable returns the name of the variable after SET or RESET, and whether it is set for the transaction alone.
func (s *scanner) variable() (name string, local bool) {
	name = s.name()
	if local = isKeyword(name, "local"); local || isKeyword(name, "session") {
		name = s.name()
	}
	return name, local
}

// name returns the next token without double quotes, if it is a word or a name.
func (s *scanner) name() string {
	switch s.next() {
	case tokenWord:
		return s.text()
	case tokenName:
		return trimQuotes(s.text(), '"')
	}
	return ""
}

// restOfSet returns what a variable is set to, after its name.
func (s *scanner) restOfSet() Switch {
	token := s.next()
	if token == tokenOther && s.text() == "=" || token == tokenWord && isKeyword(s.text(), "to") {
		token = s.next()
	}
	value := s.text()
	if token == tokenLiteral || token == tokenName {
		value = trimQuotes(value, value[0])
	}
	switch {
	case token == tokenWord && isKeyword(value, "default"):
		return SwitchDefault
	case isOneOf(value, "off", "false", "f", "no", "n", "0"):
		return SwitchOff
	}
	return SwitchOn
}

// restReadsPast reports whether AS OF SYSTEM TIME is among the modes of a transaction that follow.
func (s *scanner) restReadsPast() bool {
	for token := s.next(); token != tokenEnd && token != tokenSemicolon; token = s.next() {
		if token == tokenWord && isKeyword(s.text(), "as") {
			return isKeyword(s.word(), "of") && isKeyword(s.word(), "system") && isKeyword(s.word(), "time")
		}
	}
	return false
}

// nextIsRestartName reports whether the next token is the name of a restart savepoint: one that begins with
// cockroach_restart, in any case if it is not quoted, in lower case if it is.
func (s *scanner) nextIsRestartName() bool {
	const prefix = "cockroach_restart"
	switch s.next() {
	case tokenWord:
		name := s.text()
		return len(name) >= len(prefix) && isKeyword(name[:len(prefix)], prefix)
	case tokenName:
		name := s.text()
		return len(name) > len(prefix) && name[1:1+len(prefix)] == prefix
	}
	return false
}

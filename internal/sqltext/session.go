package sqltext

import "strings"

// sessionOf says how a statement that reads or writes rows changes the session: by a function that it calls.
func sessionOf(at *scanner) Session {
	if strings.IndexByte(at.sql, '_') < 0 || !contains(at.sql, "set_config") && !contains(at.sql, "pg_") {
		return SessionKept
	}
	session, s := SessionKept, *at
	for token := s.next(); token != tokenEnd && token != tokenSemicolon; token = s.next() {
		if token != tokenWord && token != tokenName {
			continue
		}
		name := trimQuotes(s.text(), '"')
		switch {
		case isKeyword(name, "set_config") && !s.restSetsLocally():
			session = max(session, SessionSetMid)
		case isOneOf(name, sessionLocks...):
			session = SessionLasts
		}
	}
	if s.odd {
		return SessionLasts
	}
	return session
}

// sessionLocks are the functions that take or give up advisory locks of the session. Those of the transaction end with
// it.
var sessionLocks = []string{
	"pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared",
	"pg_advisory_unlock", "pg_advisory_unlock_shared", "pg_advisory_unlock_all",
}

// restSetsLocally reports whether the arguments of set_config that follow end in a literal true: then the variable is
// set for the transaction alone.
func (s scanner) restSetsLocally() bool {
	if s.next() != tokenOther || s.text() != "(" {
		return false
	}
	last, alone := "", false // the last argument, if it is one token
	for depth := 1; depth > 0; {
		token := s.next()
		if token == tokenEnd {
			return false
		}
		switch text := s.text(); {
		case token != tokenOther:
			alone = alone && last == "" && token == tokenWord
			last = text
		case text == ")":
			depth--
		case text == ",":
			last, alone = "", depth == 1
		case text == "(":
			depth, alone = depth+1, false
		default: // an operator
			alone = false
		}
	}
	return alone && isKeyword(last, "true")
}

// lookCreate tells whether what is created lasts no longer than the session.
func lookCreate(c Class, s scanner) Class {
	word := s.word()
	if isOneOf(word, "local", "global") {
		word = s.word()
	}
	c.Pins = isOneOf(word, "temp", "temporary") || contains(s.sql, "pg_temp")
	return c
}

// lookDeclare tells whether a cursor outlives its transaction.
func lookDeclare(c Class, s scanner) Class {
	c.Pins = contains(s.sql, "hold")
	return c
}

// intoTemp reports whether a query may make a temporary table of its rows.
func intoTemp(at *scanner) bool {
	if !contains(at.sql, "temp") {
		return false
	}
	s, into := *at, false
	for token := s.next(); token != tokenEnd && token != tokenSemicolon; token = s.next() {
		here := s.text()
		if into && token == tokenWord && isOneOf(here, "temp", "temporary", "local", "global") || contains(here, "pg_temp") {
			return true
		}
		into = token == tokenWord && isKeyword(here, "into")
	}
	return s.odd
}

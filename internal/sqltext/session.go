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
	for depth := 1; ; {
		switch token := s.next(); {
		case token == tokenEnd:
			return false
		case token == tokenOther && s.text() == "(":
			depth, alone = depth+1, false
		case token == tokenOther && s.text() == ")":
			if depth--; depth == 0 {
				return alone && isKeyword(last, "true")
			}
		case token == tokenOther && s.text() == "," && depth == 1:
			last, alone = "", true
		default:
			alone = alone && last == "" && token == tokenWord
			last = s.text()
		}
	}
}

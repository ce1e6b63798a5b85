package cockroachdb

import (
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// journal is what the application has set on a connection's session, and what another session must be told before it
// can take its place.
type journal struct {
	sets   []string // in order, each of one statement
	pinned bool     // the session has something that can't be made again elsewhere, or nobody knows what it has,
	by     blame    // because of this
}

// mostSets bounds the journal.
const mostSets = 64

// add notes a SET, RESET or USE that will stay.
func (j *journal) add(sql string) {
	if len(j.sets) >= mostSets {
		j.pin(blame{cause: CauseSession, text: sql})
	}
	if !j.pinned {
		j.sets = append(j.sets, sql)
	}
}

// pin notes that the session can't be replaced any more.
func (j *journal) pin(by blame) {
	if j.pinned {
		return
	}
	j.sets, j.pinned, j.by = nil, true, by
}

// noteSession takes note of what a statement may have changed on the session. failed says that it came to an error.
func (t *tx) noteSession(s *wire.Statement, failed bool) {
	class := &s.Class
	switch {
	case class.Pins, class.Several && !class.RowsOnly:
		t.pin(s) // a part of a text may have been carried out although it failed
	case failed, class.Session == sqltext.SessionKept:
	case class.Session != sqltext.SessionSet, len(s.Values) > 0, t.inText:
		t.pin(s)
	case t.explicit:
		t.sets = append(t.sets, s.SQL)
	default:
		t.c.journal.add(s.SQL)
	}
}

// pin notes that s is why the session can't be replaced any more.
func (t *tx) pin(s *wire.Statement) { t.c.journal.pin(blame{cause: CauseSession, text: s.Text()}) }

// keepSets puts what the transaction has set into the journal, once it has ended. PostgreSQL undoes a SET when the
// transaction, or the savepoint before it, is rolled back; CockroachDB does not.
func (t *tx) keepSets() {
	switch {
	case len(t.sets) == 0:
	case t.c.crdb, t.outcome == OutcomeCommitted && !t.nested:
		for _, sql := range t.sets {
			t.c.journal.add(sql)
		}
	case t.nested || t.outcome == OutcomeOver || t.outcome == OutcomeAmbiguous:
		t.c.journal.pin(blame{cause: CauseSession, text: t.sets[0]})
	}
	t.sets, t.unset = nil, nil
}

// goesBack takes note that the transaction goes back to its start without a replay, and so without what it has set,
// which PostgreSQL undoes; CockroachDB does not.
func (t *tx) goesBack() {
	if t.c.crdb && len(t.sets) > 0 {
		for _, sql := range t.sets {
			t.c.journal.add(sql)
		}
		t.unset = nil
	}
	t.sets = nil
}

// comparedParameters are those that a server reports and by which it may answer the same statement otherwise.
var comparedParameters = []string{
	"search_path", "TimeZone", "DateStyle", "IntervalStyle", "application_name", "client_encoding", "server_encoding",
	"standard_conforming_strings", "integer_datetimes", "session_authorization", "is_superuser",
	"default_transaction_read_only",
}

// reportedBy returns what a server has reported of a session's comparedParameters.
func reportedBy(s *wire.Session) (all []string) {
	for _, name := range comparedParameters {
		all = append(all, s.PG.ParameterStatus(name))
	}
	return all
}

// otherParameter returns the name of what the sessions differ by, or "". Unset is what a reported before a transaction
// set something that b is yet to be told; nil if none has.
func otherParameter(a, b *wire.Session, unset []string) string {
	was, is := a.Pgx.Config(), b.Pgx.Config()
	switch { // a DSN is read anew for each connection
	case was.User != is.User:
		return "user"
	case was.Database != is.Database:
		return "database"
	case isCockroachDB(a) != isCockroachDB(b):
		return "crdb_version"
	}
	if unset == nil {
		unset = reportedBy(a)
	}
	for n, name := range comparedParameters {
		if unset[n] != b.PG.ParameterStatus(name) {
			return name
		}
	}
	return ""
}

package crdbmodel

import (
	"slices"
	"strings"
)

// A session is a connection's, at the server's end. Its own goroutine alone uses it.
type session struct {
	e     *engine
	id    int
	draws int             // of random priorities
	gone  <-chan struct{} // closed when the client has gone

	status byte
	txn    *txn // nil outside a transaction

	restartable bool // the transaction has the restart savepoint
	released    bool // and has been committed by its RELEASE: only COMMIT and ROLLBACK are left
	savepoints  []savepoint
	window      []*execution // what the server can run again; see [session.retry]
	sent        bool         // something of the transaction's answers has been sent

	answers // what has not been sent
}

// A savepoint is one of the application's.
type savepoint struct {
	name   string
	writes int
}

// An execution is a statement that ran, or runs, with what answers it. That is written anew if it runs again.
type execution struct {
	st      *statement
	params  []int64
	formats []int16
	headed  bool // the answer begins with its columns
	answer  *answer
}

// execute runs a statement and answers it, unless it fails.
func (s *session) execute(x *execution) error {
	if tag, isControl, err := s.control(x.st); isControl {
		if err == nil {
			s.answerTag(tag)
		}
		return err
	}
	x.answer = s.reserve()
	var err error
	if s.txn == nil {
		err = s.alone(x)
	} else {
		s.window = append(s.window, x)
		err = s.retry(s.attempt(x), nil)
	}
	if err == nil && s.size > resultsBuffer {
		return s.flush()
	}
	return err
}

// alone runs a statement outside a transaction, as a transaction of its own, which the server retries
// [docs: "Automatic retries"].
func (s *session) alone(x *execution) error {
	t := s.begin(modes{})
	for {
		res, err := s.run(t, x.st, x.params)
		if err == nil {
			err = s.commit(t)
		}
		switch {
		case err == nil:
			s.fill(x, res)
			return nil
		case !isConflict(err):
			s.giveUp(t)
			return err
		}
		t = s.again(t)
	}
}

// attempt runs a statement of the transaction. Under READ COMMITTED it is retried alone, unless the transaction was
// aborted [docs: "Read Committed Transactions"]; that it is for so many times only, by default, is left out.
func (s *session) attempt(x *execution) error {
	s.e.mu.Lock()
	before := len(s.txn.writes)
	s.e.mu.Unlock()
	for {
		res, err := s.run(s.txn, x.st, x.params)
		switch {
		case err == nil:
			s.fill(x, res)
			return nil
		case !isConflict(err) || wasAborted(err) || s.txn.level != readCommitted:
			return err
		}
		s.e.mu.Lock()
		if !s.txn.aborted {
			s.txn.undo(before)
		}
		s.e.counts.ServerRetries++
		s.e.mu.Unlock()
	}
}

// retry is the server's own: as long as nothing of a transaction's answers has been sent, it runs all of its statements
// again after a conflict, and then last, if that is not nil. That window is open from BEGIN, and again from ROLLBACK TO
// the restart savepoint, to the first Sync or until the buffer for results is full
// [docs: "Automatic retries"; recorded, with BEGIN and SAVEPOINT in front].
func (s *session) retry(err error, last func() error) error {
	for isConflict(err) && !s.sent {
		s.txn = s.again(s.txn)
		err = nil
		for i := 0; i < len(s.window) && err == nil; i++ {
			err = s.attempt(s.window[i])
		}
		if err == nil && last != nil {
			err = last()
		}
	}
	return err
}

func (s *session) begin(m modes) *txn {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.newTxn(s, m)
}

func (s *session) again(t *txn) *txn {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.e.counts.ServerRetries++
	return s.e.restart(t, false)
}

func (s *session) commit(t *txn) error {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.commit(t)
}

func (s *session) giveUp(t *txn) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.e.rollback(t)
}

// over ends the transaction on the session's side.
func (s *session) over() {
	s.txn, s.status = nil, 'I'
	s.restartable, s.released, s.savepoints, s.window, s.sent = false, false, nil, nil, false
}

// failed is called after a statement has failed.
func (s *session) failed() {
	if s.status == 'T' && !s.released {
		s.status = 'E'
	}
}

var (
	errFailed    = fail("25P02", "current transaction is aborted, commands ignored until end of transaction block")
	errCommitted = fail("25000", "current transaction is committed, commands ignored until end of transaction block")
	errNoTxn     = fail("XXUUU", "there is no transaction in progress")
	errInTxn     = fail("25001", "there is already a transaction in progress")
	errNoPoint   = fail("3B001", "savepoint does not exist")
	errNested    = fail("42601", `SAVEPOINT "cockroach_restart" cannot be nested`)
	errLate      = fail("42601", `SAVEPOINT "cockroach_restart" needs to be the first statement in a transaction`)
)

// control runs the statements that are about transactions, and reports whether this is one. All of it, with its errors
// and tags, is [recorded].
func (s *session) control(st *statement) (tag string, isControl bool, err error) {
	ends := st.kind == kindCommit || st.kind == kindRollback
	switch {
	case s.released && ends:
		s.over()
		return "COMMIT", true, nil
	case s.released:
		return "", true, errCommitted
	case s.status == 'E' && ends:
		s.e.work(s.id, s.e.cfg.Control)
		s.giveUp(s.txn)
		s.over()
		return "ROLLBACK", true, nil
	case s.status == 'E' && st.kind != kindRollbackTo:
		return "", true, errFailed
	case st.kind > kindSetTransaction:
		return "", false, nil
	case s.txn == nil && st.kind != kindBegin:
		return "", true, errNoTxn
	}
	s.e.work(s.id, s.e.cfg.Control)
	tag, err = s.controlOpen(st)
	return tag, true, err
}

func (s *session) controlOpen(st *statement) (tag string, err error) {
	switch st.kind {
	case kindBegin:
		if s.txn != nil {
			return "", errInTxn
		}
		s.txn, s.status = s.begin(st.modes), 'T'
		return "BEGIN", nil
	case kindSetTransaction:
		s.txn.high = s.txn.high || st.modes.high
		return "SET TRANSACTION", nil
	case kindCommit:
		err := s.retry(s.commit(s.txn), func() error { return s.commit(s.txn) })
		if err != nil { // a COMMIT that loses ends the transaction
			s.giveUp(s.txn)
		}
		s.over()
		return "COMMIT", err
	case kindRollback:
		s.giveUp(s.txn)
		s.over()
		return "ROLLBACK", nil
	case kindSavepoint:
		return "SAVEPOINT", s.savepoint(st.name)
	case kindRollbackTo:
		return "ROLLBACK", s.rollbackTo(st.name)
	default:
		return s.release(st.name)
	}
}

// isRestart reports whether a savepoint is the restart savepoint. It is special by its prefix.
func isRestart(name string) bool { return strings.HasPrefix(name, "cockroach_restart") }

func (s *session) savepoint(name string) error {
	switch {
	case !isRestart(name):
		s.e.mu.Lock()
		defer s.e.mu.Unlock()
		s.savepoints = append(s.savepoints, savepoint{name, len(s.txn.writes)})
		return nil
	case len(s.savepoints) > 0, s.restartable && len(s.window) > 0:
		return errNested
	case len(s.window) > 0:
		return errLate
	}
	s.restartable = true
	return nil
}

// rollbackTo goes back to a savepoint. After a conflict only the restart savepoint helps.
func (s *session) rollbackTo(name string) error {
	if isRestart(name) {
		if !s.restartable {
			return errNoPoint
		}
		s.e.mu.Lock()
		s.txn = s.e.restart(s.txn, true)
		s.e.mu.Unlock()
		s.status, s.savepoints, s.window, s.sent = 'T', nil, nil, false
		return nil
	}
	i := s.find(name)
	switch {
	case i < 0:
		return errNoPoint
	case s.status == 'E':
		return fail(conflict, restartTransaction+"cannot rollback to savepoint after a transaction restart")
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if !s.txn.aborted {
		s.txn.undo(s.savepoints[i].writes)
	}
	s.savepoints = s.savepoints[:i+1]
	return nil
}

// find returns the index of the latest savepoint of that name; -1 if there is none.
func (s *session) find(name string) int {
	for i, p := range slices.Backward(s.savepoints) {
		if p.name == name {
			return i
		}
	}
	return -1
}

// release commits, if the savepoint is the restart savepoint. The transaction stays open, for a COMMIT.
func (s *session) release(name string) (tag string, err error) {
	if !isRestart(name) {
		i := s.find(name)
		if i < 0 {
			return "", errNoPoint
		}
		s.savepoints = s.savepoints[:i]
		return "RELEASE", nil
	}
	if !s.restartable {
		return "", errNoPoint
	}
	if err := s.retry(s.commit(s.txn), func() error { return s.commit(s.txn) }); err != nil {
		return "", err
	}
	s.released = true
	return "COMMIT", nil
}

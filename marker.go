package cockroachdb

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A commit marker is a row that a transaction inserts with its commit, by which its outcome is known where the answer
// was lost. Who asks inserts the same key, marked as refused: if that succeeds the lost commit can never happen, since
// its own insert fails; if the key is there, and not refused, it has happened. Reading would prove nothing: the commit
// may still be on its way.
//
// The row of a confirmed commit is deleted by the next transaction of the connection. Rows whose transaction nobody
// has heard of any more, and those of refused ones, expire.
//
// One row, the epoch, is as old as the table. A question is answered only where the epoch is still there that was
// learnt before the commit, and a marker is inserted only there: after a TRUNCATE a key that is missing proves nothing.

func newMarkTable(cfg *Config) *markTable {
	if !cfg.CommitMarker {
		return nil
	}
	return &markTable{name: quoteTable(cfg.CommitTable)}
}

// marking is what a transaction knows of its markers.
type marking struct {
	sent *marker   // went out with the latest message that may commit, and what became of it is not known
	idle []*marker // went out with statements that might have committed, and have not
	off  bool      // the server takes no writes in this transaction
}

// marks reports whether what t commits is marked.
func (t *tx) marks() bool {
	return t.pool.marks != nil && t.seesAll() && !t.marking.off && !t.opening.readOnly
}

// place makes a new marker, which goes out with the message that is about to be sent. It returns the statements for it;
// none where the server takes no writes. ends says that the message ends the transaction: then it deletes the markers
// that nobody will ask for any more. Before that it must not, since how it does so lasts until the end.
func (t *tx) place(ctx context.Context, ends bool) (extras []wire.Extra, _ error) {
	known, err := t.pool.learnMarks(ctx)
	if err != nil || known == nil {
		return nil, err
	}
	m := &marker{table: t.pool.marks, known: known, key: newUID(), at: time.Now()}
	t.marking.sent = m
	if before := t.c.spent; ends && before != nil {
		extras = before.remove()
	}
	for n := 0; ends && n < len(t.marking.idle); n++ {
		extras = append(extras, t.marking.idle[n].remove()...)
	}
	return append(extras, m.insert()), nil
}

// learnMarks returns what is known of the table of markers. Where that was forgotten a new connection learns it.
func (p *pool) learnMarks(ctx context.Context) (*known, error) {
	if known := p.marks.known.Load(); known != nil {
		return known, nil
	}
	l, err := p.connect(ctx, "")
	if err != nil {
		return nil, err
	}
	l.hangUp(ctx)
	return p.marks.known.Load(), nil
}

// isUnmarked reports whether err is the answer to a marker that could not be placed where another one can be, or none
// is needed: because the epoch is gone, or the transaction takes no writes.
func (t *tx) isUnmarked(err error) bool {
	switch pgerr.Code(err) {
	case notNullViolation:
		t.marking.sent.forgetTable()
	case readOnlyTransaction:
		t.marking.off = true
	default:
		return false
	}
	t.marking.sent = nil
	return true
}

// noteMark takes note that the marker's transaction is known to be committed: nobody will ask for it any more.
func (t *tx) noteMark() {
	if m := t.marking.sent; m != nil {
		t.c.spent, t.marking.sent = m, nil
	}
}

// marksAlone reports whether s, a statement outside a transaction, is committed with a marker.
func (t *tx) marksAlone(s *wire.Statement) bool {
	class := &s.Class
	byQuery := s.Form == wire.Simple && t.c.mode == pgx.QueryExecModeSimpleProtocol
	return !t.explicit && t.marks() && t.within == nil && !t.inText && !byQuery &&
		class.RowsOnly && !class.Reads && !class.Several && class.Commit == sqltext.NoCommit
}

// marksBefore reports whether s commits the application's transaction, and is to have a marker before it. Of DDL, which
// stands alone after the commit, the marker would say nothing; nor would it of what a text of several statements does
// after a COMMIT in its middle.
func (t *tx) marksBefore(s *wire.Statement) bool {
	class := &s.Class
	return t.explicit && class.Commit != sqltext.NoCommit && !class.DDL && !class.Several && s.Form != wire.Parse &&
		t.history.wrote && t.marks()
}

// mostIdle bounds how many markers of a transaction are deleted with its commit. More of them expire.
const mostIdle = 16

// setAside is for a marker before a statement that has not committed.
func (m *marking) setAside() {
	if m.sent != nil && len(m.idle) < mostIdle {
		m.idle = append(m.idle, m.sent)
	}
	m.sent = nil
}

// concludeMark takes note of the success of a statement that had a marker.
func (t *tx) concludeMark(tag pgconn.CommandTag) {
	if t.explicit && tag.String() != sqlCommit {
		t.marking.setAside() // the transaction is still open, or it was rolled back
	}
	t.noteMark()
}

// noteWrite takes note of what a statement that succeeded may have written.
func (h *history) noteWrite(class *sqltext.Class, tag pgconn.CommandTag) {
	h.wrote = h.wrote || !class.Reads && (class.Several || mayWrite(tag.String()))
}

// mayWrite reports whether the statement with this tag may have written something. A SELECT may have called a function
// that does, and so may one that is read by FETCH, or at the commit, since it was declared WITH HOLD.
func mayWrite(tag string) bool {
	word, _, _ := strings.Cut(tag, " ")
	switch word {
	case "SET", "SHOW", "RESET", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "START", "COMMIT",
		"CLOSE", "PREPARE", "DEALLOCATE", "DISCARD", "LOCK", "LISTEN", "UNLISTEN", "":
		return false
	}
	return true
}

// isOpen reports whether f leaves open what became of a commit, and that can be found out.
func (t *tx) isOpen(f fault) bool {
	marked := t.marking.sent != nil
	if (marked || f.class.Commits() && t.wroteNothing()) &&
		f.reach == wire.InStatement && commitIsUnknown(f.err, !t.c.crdb) {
		return true
	}
	t.marking.sent = nil
	return false
}

// wroteNothing reports whether the transaction has certainly changed nothing. If the answer to its commit is lost it
// can be run again: all that the commit could say is that what was read may be believed.
func (t *tx) wroteNothing() bool { return t.explicit && t.seesAll() && !t.history.wrote }

// resolve deals with a commit that f has left open: it asks what became of it. If it was carried out the step is over.
// If it can't be any more, or has changed nothing, f becomes the loss of a connection before the commit.
func (t *tx) resolve(ctx context.Context, s step, f *fault) (told error, over bool) {
	m := t.marking.sent
	answer := CommitAnswerRefused
	if m != nil {
		answer = t.ask(ctx, *f)
	} else {
		t.rollback()
	}
	switch answer {
	case CommitAnswerCommitted:
		return s.settled(*f), true
	case CommitAnswerRefused:
		t.notCommitted(OutcomeFailed)
		*f = fault{err: f.err, reach: wire.Unsent, refused: true}
		return nil, false
	}
	return t.unresolved(f.err, m), true
}

// unresolved ends a transaction, or a statement outside one, whose outcome can still be asked for by m.
func (t *tx) unresolved(err error, m *marker) error {
	if !t.explicit {
		t.leaveLane()
		return &AmbiguousCommitError{err: err, alone: true, mark: m}
	}
	told := t.ambiguous(err)
	if ambiguous, ok := told.(*AmbiguousCommitError); ok { //nolint:errorlint // made by it
		ambiguous.mark = m
	}
	return told
}

// markRefused reports whether f was met by a marker because the transaction takes no writes. Then it begins anew, and
// its commit is not marked.
func (t *tx) markRefused(f fault) bool {
	if !f.unmarked || !t.restartable() {
		return false
	}
	t.openFresh(false)
	return true
}

// askTime is for how much longer the question is asked after the context of the commit has ended, and at least.
const askTime = 5 * time.Second

// ask finds out what became of the commit that f has left open. It asks on connections of its own, until there is an
// answer or the policy's time is over.
func (t *tx) ask(ctx context.Context, f fault) CommitAnswer {
	m, began, times := t.marking.sent, time.Now(), 1
	t.marking.sent = nil
	t.rollback() // or the question would wait for what is left of the transaction
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(t.timeLeft(), askTime))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(askTime, cancel) })()
	answer, again := t.askOnce(asking, m)
	for ; again && sleep(asking, asking, redialPause) == nil; times++ {
		answer, again = t.askOnce(asking, m)
	}
	if answer == CommitAnswerCommitted {
		t.c.spent = m
	}
	t.pool.metrics().asked(answer)
	t.announceAnswer(ctx, CommitEvent{Answer: answer, Asked: times, Elapsed: time.Since(began), Err: f.err})
	return answer
}

// askOnce asks on a new connection. again reports whether there is no answer yet, and there may be one.
func (t *tx) askOnce(ctx context.Context, m *marker) (answer CommitAnswer, again bool) {
	l, err := t.pool.connect(ctx, t.c.host)
	if err != nil {
		return CommitAnswerUnknown, !isHopeless(err)
	}
	defer l.hangUp(ctx)
	answer, err = m.ask(ctx, l.Session)
	return answer, err != nil && !pgerr.IsInvalid(err)
}

package cockroachdb

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/digest"
	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

var (
	// errEndedInReplay says that a statement which had left the transaction open has ended or committed it in a replay:
	// a text that had failed before its COMMIT was reached, or DDL that had lost before it committed what was open.
	errEndedInReplay = errors.New("cockroachdb: a statement ended the transaction during a replay")

	// errStaleInReplay says that a prepared statement of the record is no longer good; the next replay sends it as text.
	errStaleInReplay = errors.New("cockroachdb: a prepared statement became invalid during a replay")
)

// replay runs the record again, after the opening, and compares what the application has seen. It costs one round
// trip, and one more for each segmentBytes of answers, for each statement that had failed, since that ends a pipeline,
// and for each that must not share a Sync with others.
//
// live, the last on record, is compared as far as it was read, and its answer comes back open, for the rest. Without a
// record there is nothing to send: the opening waits for the next statement.
func (t *tx) replay(ctx context.Context, live *record) (wire.Answer, fault) {
	records := t.history.records
	if len(records) == 0 {
		return wire.Answer{}, fault{}
	}
	t.pinValues(live)
	ran := 0
	defer t.noteReplay(&ran)()
	var a wire.Answer
	for i := 0; i < len(records); {
		segment := records[i : i+segmentLength(records[i:])]
		ran += len(segment)
		var f fault
		if a, f = t.replaySegment(ctx, i, segment, live); f.err != nil {
			return wire.Answer{}, f
		}
		if t.explicit && !a.Open() && t.session().Status() == wire.Idle {
			return wire.Answer{}, fault{err: errEndedInReplay}
		}
		i += len(segment)
	}
	return a, fault{}
}

// noteReplay notes that a replay begins. What it returns notes its end, after so many statements have run.
func (t *tx) noteReplay(ran *int) (ends func()) {
	began := time.Now()
	t.attempt.replaying, t.attempt.replayed = true, 1
	return func() {
		t.attempt.replaying = false
		t.pool.metrics().replayed(*ran, time.Since(began))
	}
}

// segmentBytes bounds the answers, as large as they were before, to what goes under one Sync: while statements are
// being written that don't fit into the sockets' buffers, pgconn keeps all answers that come meanwhile in memory.
const segmentBytes = 4 << 20

// segmentLength returns how many of the records go under one Sync.
func segmentLength(records []*record) int {
	if records[0].alone() {
		return 1
	}
	bytes := 0
	for i, r := range records {
		bytes += r.answer
		switch {
		case r.alone(), i > 0 && bytes > segmentBytes:
			return i
		case r.code != "":
			return i + 1
		}
	}
	return len(records)
}

func (t *tx) replaySegment(ctx context.Context, n int, segment []*record, live *record) (wire.Answer, fault) {
	r := segment[0]
	if r.Form != wire.Simple && (r != live || !t.marksBefore(&r.Statement)) {
		return t.replayPipeline(ctx, n, segment, live)
	}
	a, reach, err := t.send(ctx, &r.Statement)
	if err == nil || reach == wire.InStatement {
		a, err = t.compare(ctx, n, r, live, a, err)
	}
	return a, faultIn(r, live, err, reach)
}

func (t *tx) replayPipeline(ctx context.Context, n int, segment []*record, live *record) (wire.Answer, fault) {
	rt := t.session().NewLongRoundTrip(ctx, t.opening.pending)
	for _, r := range segment {
		t.addAgain(&rt, r)
	}
	reach, err := rt.Send()
	t.opening.note(reach, t.session().Status())
	if err != nil {
		return wire.Answer{}, faultIn(segment[0], live, err, reach)
	}
	last := len(segment) - 1
	if i, err := t.compareEach(ctx, &rt, n, segment[:last]); err != nil {
		rest := last - i + questionsBefore(segment[i+1:])
		switch differs, ok := err.(*DivergenceError); { //nolint:errorlint // made by compare
		case ok && rt.RestCommits(rest):
			differs.committed = true
		case err == errUnlocked && rt.RestCommits(rest): //nolint:errorlint // likewise
			err = errEndedInReplay
		}
		return wire.Answer{}, faultIn(segment[i], live, rt.Fail(err), wire.InStatement)
	}
	r := segment[last]
	if err := t.catalogAnswers(&rt, r); err != nil {
		return wire.Answer{}, faultIn(r, live, rt.Fail(err), wire.InStatement)
	}
	a, err := rt.Last()
	a, err = t.compare(ctx, n+last, r, live, a, err)
	return a, faultIn(r, live, err, wire.InStatement)
}

// compareEach reads the answers to records, the first of which is the n-th, and compares them. It returns how many were
// the same, and what keeps the replay from going on after those.
func (t *tx) compareEach(ctx context.Context, rt *wire.RoundTrip, n int, records []*record) (same int, err error) {
	for i, r := range records {
		if err := t.catalogAnswers(rt, r); err != nil {
			return i, err
		}
		a, err := rt.Next()
		if _, err = t.compare(ctx, n+i, r, nil, a, err); err != nil {
			return i, err
		}
	}
	return len(records), nil
}

func faultIn(r, live *record, err error, reach wire.Reach) fault {
	if err == nil {
		return fault{}
	}
	return fault{err: err, reach: reach, class: r.Class, earlier: r != live}
}

// compare reads the answer to r in this attempt as far as the application had read it. For the live statement the
// answer comes back open. The error is a divergence, or what keeps the replay from going on.
func (t *tx) compare(ctx context.Context, n int, r, live *record, a wire.Answer, err error) (wire.Answer, error) {
	t.attempt.replayed = n + 1
	if r == live {
		return t.compareLive(ctx, n, r, a, err)
	}
	return wire.Answer{}, t.compareDone(ctx, n, r, a, err)
}

// compareLive compares the rows handed over so far. What comes after them has not been seen, and may be anything.
func (t *tx) compareLive(ctx context.Context, n int, r *record, a wire.Answer, err error) (wire.Answer, error) {
	var differs *DivergenceError
	if err == nil {
		differs, err = r.compareRows(&a)
	}
	switch {
	case t.unlocksAgain(ctx, r, differs, err):
		a.Discard()
		return wire.Answer{}, errUnlocked
	case err != nil && !t.isStatementError(err), t.isPassing(r, err):
		return a, err
	case r.shown && r.otherColumns(err):
		differs = &DivergenceError{Kind: DivergedColumns}
	case err != nil && r.rows > 0:
		differs = &DivergenceError{Kind: DivergedSQLState, is: pgerr.Code(err)}
	}
	if differs != nil {
		return wire.Answer{}, diverged(n, r, differs, &a)
	}
	return a, err
}

// compareDone compares a whole answer, the end of it included: that a statement succeeded has been seen too. The
// application's tracer sees it run again.
func (t *tx) compareDone(ctx context.Context, n int, r *record, a wire.Answer, err error) error {
	_, tr := t.c.trace.start(ctx, t.session().Pgx, t, r.Text(), nil)
	tag, differs, err := t.readAgain(r, &a, err)
	tr.end(t.session().Pgx, tag, err)
	switch {
	case err != nil && (a.Commits || a.Begins), err == nil && t.explicit && tag.String() == sqlCommit:
		return errEndedInReplay
	case t.unlocksAgain(ctx, r, differs, err):
		a.Discard()
		return errUnlocked
	case err != nil && !t.isStatementError(err), t.isPassing(r, err):
		return err
	case r.pinned() != nil && t.unpinAfter(r, tag, differs, err):
		return errUnpinned
	case pgerr.IsStalePlan(err) && r.usesPrepared() && r.code != pgerr.Code(err):
		t.c.unlearnPlan(r.Prepared, err)
		return errStaleInReplay
	}
	if differs = r.judge(differs, err); differs != nil {
		return diverged(n, r, differs, &a)
	}
	t.noteRunAgain(r, tag)
	return nil
}

// noteRunAgain takes note of a statement that has answered in a replay as it did before.
func (t *tx) noteRunAgain(r *record, tag pgconn.CommandTag) {
	if r.pinned() != nil {
		t.pool.metrics().statementPinned()
	}
	r.affected = tag.RowsAffected()
	t.history.noteWrite(&r.Class, tag)
}

// readAgain reads the answer as far as the application had read it, and then to its end, unless it differs before.
func (t *tx) readAgain(r *record, a *wire.Answer, err error) (pgconn.CommandTag, *DivergenceError, error) {
	if err != nil {
		if r.rows > 0 {
			return pgconn.CommandTag{}, &DivergenceError{Kind: DivergedEndOfRows, Row: 1}, err
		}
		return pgconn.CommandTag{}, nil, err
	}
	differs, err := r.compareRows(a)
	if err != nil || differs != nil {
		return pgconn.CommandTag{}, differs, err
	}
	return t.compareEnd(r, a)
}

// isStatementError reports whether err is the server's answer to a statement, and no conflict.
func (t *tx) isStatementError(err error) bool {
	return pgerr.Code(err) != "" && pgerr.Conflict(err) == nil && !t.session().Closed()
}

// isPassing reports whether r has met an error that says nothing of the data: it is no divergence.
func (t *tx) isPassing(r *record, err error) bool {
	if err == nil || r.code == pgerr.Code(err) {
		return false
	}
	return pgerr.IsPassing(err) || t.opening.atSavepoint && pgerr.IsOfSavepoint(err)
}

// judge returns how the answer differs from what the application has seen, given how its rows do, or nil.
func (r *record) judge(rows *DivergenceError, err error) *DivergenceError {
	code := pgerr.Code(err)
	switch {
	case r.shown && r.otherColumns(err):
		return &DivergenceError{Kind: DivergedColumns}
	case code != r.code && (err != nil || rows == nil || !r.shown):
		return &DivergenceError{Kind: DivergedSQLState, was: r.code, is: code}
	case err != nil && rows == nil && digest.OfError(pgerr.Answer(err)) != r.said:
		return &DivergenceError{Kind: DivergedError}
	}
	return rows
}

// diverged completes a divergence of r, the n-th record counted from 0, and closes its answer.
func diverged(n int, r *record, differs *DivergenceError, a *wire.Answer) error {
	a.Discard()
	differs.Statement, differs.committed = n+1, a.Commits || a.Begins
	differs.advice = adviceOn(differs.Kind, r.SQL, r.rows)
	return differs
}

// usesPrepared reports whether the server runs what it has prepared.
func (r *record) usesPrepared() bool {
	return r.Prepared != nil && r.Prepared.OnServer() && !r.Prepared.Gone()
}

// otherColumns reports whether the server could not send the columns in the formats that were asked for, because there
// are more or fewer of them than when the statement was described.
func (r *record) otherColumns(err error) bool {
	return r.code == "" && len(r.ResultFormats) > 1 && pgerr.Code(err) == pgerr.ProtocolViolation
}

// compareRows reads as many rows as the application was handed, and no more. An error is the answer's, which has been
// closed then, and comes with a divergence: there were too few rows before it.
func (r *record) compareRows(a *wire.Answer) (*DivergenceError, error) {
	if r.shown && a.Open() && wire.ColumnsOf(a.Fields()).Digest != r.columns {
		return &DivergenceError{Kind: DivergedColumns}, nil
	}
	var d digest.Rows
	d.Reset()
	for n := int64(0); n < r.rows || r.more && n == 0; n++ {
		if !a.Next() {
			_, err := a.Close()
			return &DivergenceError{Kind: DivergedEndOfRows, Row: n + 1}, err
		}
		if n < r.rows {
			d.Add(a.Row(), digest.Size(a.Row()))
		}
	}
	if r.rows == 0 {
		return nil, nil
	}
	return r.compareDigest(&d), nil
}

// compareDigest compares the digest of as many rows as the application was handed.
func (r *record) compareDigest(d *digest.Rows) *DivergenceError {
	was, wasMarks := r.seen()
	is, isMarks := d.Sum()
	if is == was {
		return nil
	}
	differs := &DivergenceError{Kind: DivergedRow, Row: 1}
	for i := range wasMarks {
		differs.Row = int64(i + 1)
		if wasMarks[i] != isMarks[i] {
			return differs
		}
	}
	if r.rows > 1 {
		differs.Row++
		differs.imprecise = true
	}
	return differs
}

// compareEnd reads the rest of the answer.
func (t *tx) compareEnd(r *record, a *wire.Answer) (pgconn.CommandTag, *DivergenceError, error) {
	more := r.end && a.Next()
	tag, err := t.session().Conclude(&r.Statement, a)
	if more {
		return tag, &DivergenceError{Kind: DivergedEndOfRows, Row: r.rows + 1}, err
	}
	if err == nil && r.asked && tag.RowsAffected() != r.affected {
		return tag, &DivergenceError{Kind: DivergedCount}, nil
	}
	return tag, nil, err
}

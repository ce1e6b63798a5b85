package cockroachdb

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// errEndedInReplay says that a statement which had left the transaction open has ended it in a replay: a text that had failed before
// its COMMIT was reached, or DDL that had lost before it committed what was open.
var errEndedInReplay = errors.New("cockroachdb: a statement ended the transaction during a replay")

// errStaleInReplay says that a prepared statement of the record is no longer good; the next replay sends it as text.
var errStaleInReplay = errors.New("cockroachdb: a prepared statement became invalid during a replay")

// replay runs the record again, behind the opening, and compares what the application has seen. It costs one round trip, and
// one more for each segmentBytes of answers, for each statement that had failed, since that ends a pipeline, for each text of
// several statements, and for what may commit, such as DDL on some servers, which has to wait until all before it has been
// compared. live, the last on record, is compared as far as it was read, and its answer comes back open, for the rest. Without a
// record there is nothing to send: the opening waits for the next statement.
func (t *tx) replay(ctx context.Context, live *record) (answer, error) {
	records := t.history.records
	if len(records) == 0 {
		return answer{}, nil
	}
	ran, began := 0, time.Now()
	t.replaying, t.comparing = true, 1
	defer func() {
		t.replaying = false
		t.c.connector.metrics.replayed(ran, time.Since(began))
	}()
	var a answer
	for i := 0; i < len(records); {
		segment := records[i : i+segmentLength(records[i:])]
		ran += len(segment)
		var err error
		if segment[0].form == formSimple {
			a, err = t.replaySimple(ctx, i, segment[0], live)
		} else {
			a, err = t.replayPipeline(ctx, i, segment, live)
		}
		if err != nil {
			if _, unsent := asUnsent(err); !unsent && t.lostInCommit(segment[0].sql) {
				err = t.ambiguous(err)
			}
			return answer{}, err
		}
		if t.explicit && a.result == nil && t.c.pg.TxStatus() == statusIdle {
			return answer{}, t.ambiguous(errEndedInReplay)
		}
		i += len(segment)
	}
	return a, nil
}

// segmentBytes bounds the answers, as large as they were before, to what goes under one Sync: while statements are being written that
// don't fit into the sockets' buffers, pgconn keeps all answers that come meanwhile in memory.
const segmentBytes = 4 << 20

// segmentLength is how many of the records go under one Sync.
func segmentLength(records []*record) int {
	if records[0].form == formSimple || records[0].is.commits {
		return 1
	}
	bytes := 0
	for i, r := range records {
		bytes += r.answer
		switch {
		case r.form == formSimple, r.is.commits, i > 0 && bytes > segmentBytes:
			return i
		case r.code != "":
			return i + 1
		}
	}
	return len(records)
}

func (t *tx) replaySimple(ctx context.Context, n int, r, live *record) (answer, error) {
	a, sent, err := t.c.send(ctx, t.opening, &r.statement)
	t.opened(sent, err)
	return t.compare(ctx, n, r, live, a, err)
}

func (t *tx) replayPipeline(ctx context.Context, n int, segment []*record, live *record) (answer, error) {
	last := len(segment) - 1
	f := t.c.board(ctx, t.c.newTrain(ctx, true), t.opening)
	for _, r := range segment {
		f.add(&r.statement)
	}
	err := f.depart()
	t.opened(f.sent, err)
	if err != nil {
		return answer{}, err
	}
	for i, r := range segment[:last] {
		a, err := f.next()
		if _, err = t.compare(ctx, n+i, r, nil, a, err); err != nil {
			return answer{}, f.fail(err)
		}
	}
	a, err := f.last()
	return t.compare(ctx, n+last, segment[last], live, a, err)
}

// compare reads the answer to r in this attempt as far as the application had read it. For the live statement the answer comes
// back open. The error is a divergence, or what keeps the replay from going on.
func (t *tx) compare(ctx context.Context, n int, r, live *record, a answer, err error) (answer, error) {
	t.comparing = n + 1
	if r == live {
		return t.compareLive(n, r, a, err)
	}
	return answer{}, t.compareDone(ctx, n, r, a, err)
}

// compareLive compares the rows handed over so far. What comes after them has not been seen, and may be anything.
func (t *tx) compareLive(n int, r *record, a answer, err error) (answer, error) {
	var differs *DivergenceError
	if err == nil {
		differs, err = r.compareRows(&a)
	}
	switch {
	case err != nil && !t.isStatementError(err):
		return a, err
	case r.shown && r.otherColumns(err):
		differs = &DivergenceError{Kind: DivergedColumns}
	case err != nil && r.rows > 0:
		differs = &DivergenceError{Kind: DivergedSQLState, is: codeOf(err)}
	}
	if differs != nil {
		return answer{}, diverged(n, r, differs, &a)
	}
	return a, err
}

// compareDone compares a whole answer, the end of it included: that a statement succeeded has been seen too. The application's
// tracer sees it run again.
func (t *tx) compareDone(ctx context.Context, n int, r *record, a answer, err error) error {
	var differs *DivergenceError
	var tag pgconn.CommandTag
	_, end := t.c.trace.start(ctx, t.c.pc, t, r.text(), nil)
	defer func() { end(t.c.pc, tag, err) }()
	switch {
	case err == nil:
		differs, err = r.compareRows(&a)
	case r.rows > 0:
		differs = &DivergenceError{Kind: DivergedEndOfRows, Row: 1}
	}
	if err == nil && differs == nil {
		tag, differs, err = t.c.compareEnd(r, &a)
	}
	switch {
	case err != nil && a.control:
		return t.ambiguous(errEndedInReplay)
	case err != nil && !t.isStatementError(err):
		return err
	case stalePlan(err) && r.prepared != nil && !r.prepared.gone && r.code != codeOf(err):
		t.c.invalidate(r.prepared, err)
		return errStaleInReplay
	case r.shown && r.otherColumns(err):
		differs = &DivergenceError{Kind: DivergedColumns}
	case codeOf(err) != r.code && (err != nil || differs == nil || !r.shown):
		differs = &DivergenceError{Kind: DivergedSQLState, was: r.code, is: codeOf(err)}
	case err != nil && differs == nil && r.otherError(err):
		differs = &DivergenceError{Kind: DivergedError}
	}
	if differs != nil {
		return diverged(n, r, differs, &a)
	}
	r.affected = tag.RowsAffected()
	return nil
}

func diverged(n int, r *record, differs *DivergenceError, a *answer) error {
	_, _ = a.close()
	differs.Statement, differs.committed, differs.cure = n+1, a.control, cureOf(differs.Kind, r)
	return differs
}

// isStatementError says whether err is the server's answer to a statement, and no conflict.
func (t *tx) isStatementError(err error) bool {
	return codeOf(err) != "" && conflictOf(err) == nil && !t.c.pg.IsClosed()
}

// otherError says whether an error with the SQLSTATE that was shown says something else.
func (r *record) otherError(err error) bool {
	pgErr, ok := err.(*pgconn.PgError) //nolint:errorlint // the server's own answer
	return ok && digestOfError(pgErr) != r.said
}

// otherColumns says whether the server could not give the columns in the formats that were asked for, because there are more or
// fewer of them than when the statement was described.
func (r *record) otherColumns(err error) bool {
	return r.code == "" && len(r.resultFormats) > 1 && codeOf(err) == codeProtocolViolation
}

// compareRows reads as many rows as the application was handed, and no more. An error is the answer's, which has been closed then,
// and comes with a divergence: there were too few rows before it.
func (r *record) compareRows(a *answer) (*DivergenceError, error) {
	if r.shown && a.result != nil && shapeOfAnswer(a.result.FieldDescriptions()).digest != r.columns {
		return &DivergenceError{Kind: DivergedColumns}, nil
	}
	if r.rows == 0 {
		return nil, nil
	}
	var d digest
	d.reset()
	for d.rows < r.rows {
		if !a.next() {
			_, err := a.close()
			return &DivergenceError{Kind: DivergedEndOfRows, Row: d.rows + 1}, err
		}
		row := a.result.Values()
		d.add(row, sizeOf(row))
	}
	was, wasMarks := r.seen()
	is, isMarks := d.sum()
	if is == was {
		return nil, nil
	}
	differs := &DivergenceError{Kind: DivergedRow, Row: 1}
	for i := range wasMarks {
		differs.Row = int64(i + 1)
		if wasMarks[i] != isMarks[i] {
			return differs, nil
		}
	}
	if r.rows > 1 {
		differs.Row++
		differs.imprecise = true
	}
	return differs, nil
}

// compareEnd reads the rest of the answer.
func (c *Conn) compareEnd(r *record, a *answer) (pgconn.CommandTag, *DivergenceError, error) {
	more := r.end && a.next()
	tag, err := c.concluded(&r.statement, a)
	if more {
		return tag, &DivergenceError{Kind: DivergedEndOfRows, Row: r.rows + 1}, err
	}
	if err == nil && r.asked && tag.RowsAffected() != r.affected {
		return tag, &DivergenceError{Kind: DivergedCount}, nil
	}
	return tag, nil, err
}

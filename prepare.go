package cockroachdb

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// PrepareContext prepares a statement, for as long as the connection lives or the statement is closed.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	t, err := c.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	if c.session.Classify(query).Copies {
		return nil, errCopy
	}
	p, isNew, err := c.pinned(ctx, t, &request{sql: query, prepares: true})
	if !t.explicit {
		t.endAlone(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	return &stmt{c: c, p: p, found: !isNew && p.Confirmed()}, nil
}

// Prepare prepares a statement.
//
// Deprecated: database/sql calls PrepareContext.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// prepared finds what is known of a text or asks the server, and reports whether it is new. named says what it is for:
// to be prepared under a name.
func (c *conn) prepared(ctx context.Context, t *tx, named bool, r *request) (p *wire.Prepared, isNew bool, err error) {
	if p := c.known(t, named, r); p != nil {
		c.cacheOf(p).Keep(p)
		return p, false, nil
	}
	p, err = c.parse(ctx, t, named, r.sql)
	if err == nil {
		c.cacheOf(p).Put(p)
	}
	return p, true, err
}

// cacheOf returns where p is kept.
func (c *conn) cacheOf(p *wire.Prepared) *wire.Cache {
	if p.Name == "" {
		return c.session.Descriptions
	}
	return c.session.Statements
}

// pinned is prepared for a driver.Stmt, for which the statement is kept. That the server could prepare it is something
// that the application has seen.
func (c *conn) pinned(ctx context.Context, t *tx, r *request) (p *wire.Prepared, isNew bool, err error) {
	if p = c.known(t, true, r); p != nil {
		c.trace.alreadyPrepared(ctx, c.session.Pgx, t, p)
	} else if p, err = c.parse(ctx, t, true, r.sql); err != nil {
		return nil, true, err
	} else if isNew = true; t.explicit {
		t.recordParse(r.sql, &p.Class)
	}
	c.session.Statements.Pin(p)
	return p, isNew, nil
}

// recordParse puts on record that the application has prepared a statement.
func (t *tx) recordParse(sql string, class *sqltext.Class) *record {
	return t.record(&wire.Statement{
		Form: wire.Parse, SQL: sql, Class: sqltext.Class{Commit: class.Commit, DDL: class.DDL},
	})
}

// unlearn forgets what is known of a statement, because it may have caused an error.
func (c *conn) unlearn(p *wire.Prepared) { c.cacheOf(p).Forget(p) }

// unlearnPlan forgets what is known of a prepared statement that the server has lost, has already, or has outgrown.
func (c *conn) unlearnPlan(p *wire.Prepared, err error) {
	switch pgerr.Code(err) {
	case pgerr.NoPreparedStatement, pgerr.DuplicatePrepared:
		p.Lost()
		c.session.Shared = true
	default:
		c.unlearn(p)
	}
}

// parse has the server parse and describe sql. named says that it is to be prepared under a name, which happens when it
// is run for the first time. Inside a transaction this travels with what opens the transaction, and a conflict is
// absorbed as for any other statement.
func (c *conn) parse(ctx context.Context, t *tx, named bool, sql string) (p *wire.Prepared, err error) {
	ctx, end := c.trace.startPrepare(ctx, c.session.Pgx, t, named, sql)
	defer func() { end(err) }()
	class := c.session.Classify(sql)
	if class.Copies {
		return nil, errCopy
	}
	step := &parseStep{t: t, sql: sql, class: class}
	if err := t.carryOn(ctx, step, step.send(ctx)); err != nil {
		if answer := pgerr.Answer(err); answer != nil && t.explicit {
			t.recordParse(sql, &class).fail(answer)
		}
		return nil, err
	}
	t.noteParsed(&class)
	p = wire.NewPrepared(named, sql, class, step.desc)
	c.share(t, p)
	return p, nil
}

// noteParsed takes note that a Parse has committed the transaction, as that of a schema change may.
func (t *tx) noteParsed(class *sqltext.Class) {
	if t.explicit && t.state == stateOpen && t.phase() == phaseEnded {
		t.detach(endingOf(class), t.attempt.ran() > 0)
	}
}

// parseStep is a Parse, which may take several attempts.
type parseStep struct {
	t     *tx
	sql   string
	class sqltext.Class
	desc  *pgconn.StatementDescription
}

func (p *parseStep) site() site             { return atStatement(p.t.attempt.statements + 1) }
func (p *parseStep) mayRunAgainAlone() bool { return true }
func (p *parseStep) renew(fault) bool       { return false }
func (p *parseStep) settled(f fault) error  { return f.err }

func (p *parseStep) resume(ctx context.Context) fault {
	if _, f := p.t.replay(ctx, nil); f.err != nil {
		return f
	}
	return p.send(ctx)
}

func (p *parseStep) send(ctx context.Context) fault {
	t := p.t
	var reach wire.Reach
	var err error
	p.desc, reach, err = t.session().Describe(ctx, t.opening.pending, p.sql)
	t.opening.note(reach, t.session().Status())
	f := fault{err: err, reach: reach, parsing: true}
	switch {
	case !t.explicit && !t.inText && t.within == nil: // whatever it does, it was not run
		f.refused = isLostWith(t.session(), err)
	case p.class.Commit == sqltext.MayCommit: // DDL may commit what is open when it is parsed
		f.class = p.class
	}
	return f
}

package cockroachdb

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// train is several statements under one Sync, on their way. Its methods are called in the order in which they stand here.
type train interface {
	begin(own []string)                    // begins with statements of the driver's own
	add(s *statement)                      // adds one of the application's
	sync() error                           // sends them
	result() (*pgconn.ResultReader, error) // reads as far as the first row, or the end, of the next one's answer
	land() error                           // reads what is left
}

// newTrain makes the lightest train that will do. A replay needs a pipeline, which keeps the answers to many statements apart even if
// the server leaves one out.
func (c *Conn) newTrain(ctx context.Context, replay bool) train {
	switch err := c.unable(ctx); {
	case err != nil:
		return nowhere{err}
	case replay, len(c.statements.doomed) > 0:
		return c.newPipeline(ctx)
	default:
		return c.newBatch(ctx)
	}
}

// batch is the train for a statement of the application behind some of the driver's own.
type batch struct {
	ctx        context.Context
	pg         *pgconn.PgConn
	statements pgconn.Batch
	multi      *pgconn.MultiResultReader

	// encoded is what the driver has sent before: BEGIN and RELEASE in their few varieties need not be encoded for each transaction.
	encoded map[[maxOwn]string]pgconn.Batch
}

// maxOwn is how many statements of the driver's own go together at most: ROLLBACK, BEGIN, SAVEPOINT.
const maxOwn = 3

// newBatch makes the batch of the connection ready: there is one at a time.
func (c *Conn) newBatch(ctx context.Context) *batch {
	b := &c.batch
	if b.encoded == nil {
		b.encoded = make(map[[maxOwn]string]pgconn.Batch)
	}
	b.ctx, b.pg, b.statements, b.multi = ctx, c.pg, pgconn.Batch{}, nil
	return b
}

func (b *batch) begin(own []string) {
	if len(own) == 0 {
		return
	}
	var key [maxOwn]string
	copy(key[:], own)
	if encoded, ok := b.encoded[key]; ok {
		b.statements = encoded
		return
	}
	for _, sql := range own {
		b.statements.ExecParams(sql, nil, nil, nil, nil)
	}
	b.encoded[key] = b.statements
}

func (b *batch) add(s *statement) {
	if s.form == formPrepared && !s.prepared.gone {
		b.statements.ExecStatement(s.prepared.desc, s.values, s.paramFormats, s.resultFormats)
		return
	}
	b.statements.ExecParams(s.sql, s.values, s.paramOIDs, s.paramFormats, s.resultFormats)
}

func (b *batch) sync() error {
	b.multi = b.pg.ExecBatch(b.ctx, &b.statements)
	return nil
}

func (b *batch) result() (*pgconn.ResultReader, error) {
	if b.multi.NextResult() {
		return b.multi.ResultReader(), nil
	}
	if err := b.land(); err != nil {
		return nil, err
	}
	return nil, errProtocol
}

// land does not take more answers than there were statements, which MultiResultReader would pass over.
func (b *batch) land() error {
	more := b.multi.NextResult()
	err := b.multi.Close()
	if more && err == nil {
		return errProtocol
	}
	return wasSent(b.ctx, err)
}

// nowhere is the train where nothing can be sent.
type nowhere struct{ err error }

func (nowhere) begin([]string)                          {}
func (nowhere) add(*statement)                          {}
func (n nowhere) sync() error                           { return n.err }
func (n nowhere) result() (*pgconn.ResultReader, error) { return nil, n.err }
func (nowhere) land() error                             { return nil }

// pipeline is the train for many statements, and can also prepare and deallocate them. It costs more than a batch.
type pipeline struct {
	pipe   *pgconn.Pipeline
	doomed int
}

// newPipeline starts with deallocating the statements that are to go.
func (c *Conn) newPipeline(ctx context.Context) *pipeline {
	doomed := c.statements.takeDoomed()
	p := &pipeline{pipe: c.pg.StartPipeline(ctx), doomed: len(doomed)}
	for _, name := range doomed {
		p.pipe.SendDeallocate(name)
	}
	return p
}

func (p *pipeline) begin(own []string) {
	for _, sql := range own {
		p.pipe.SendQueryParams(sql, nil, nil, nil, nil)
	}
}

func (p *pipeline) add(s *statement) {
	switch {
	case s.form == formParse:
		p.parse("", s.sql)
	case s.form == formPrepared && !s.prepared.gone:
		p.pipe.SendQueryStatement(s.prepared.desc, s.values, s.paramFormats, s.resultFormats)
	default:
		p.pipe.SendQueryParams(s.sql, s.values, s.paramOIDs, s.paramFormats, s.resultFormats)
	}
}

func (p *pipeline) parse(name, sql string) { p.pipe.SendPrepare(name, sql, nil) }

func (p *pipeline) sync() error {
	if err := p.pipe.Sync(); err != nil {
		return err
	}
	for range p.doomed {
		if _, err := p.pipe.GetResults(); err != nil {
			return err
		}
	}
	return nil
}

func (p *pipeline) result() (*pgconn.ResultReader, error) {
	results, err := p.pipe.GetResults()
	if err != nil {
		return nil, err
	}
	switch results := results.(type) {
	case *pgconn.ResultReader:
		return results, nil
	case *pgconn.StatementDescription:
		return nil, nil
	}
	return nil, errProtocol
}

// description reads the answer to a Parse.
func (p *pipeline) description() (*pgconn.StatementDescription, error) {
	results, err := p.pipe.GetResults()
	if err != nil {
		return nil, err
	}
	if desc, ok := results.(*pgconn.StatementDescription); ok {
		return desc, nil
	}
	return nil, errProtocol
}

func (p *pipeline) land() error { return p.pipe.Close() }

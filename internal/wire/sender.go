package wire

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// A sender sends several statements under one Sync. Its methods are called in the order in which they stand here.
type sender interface {
	control(statements []string) // begins with statements of the driver's own
	add(st *Statement)           // adds one of the application's
	sync() error                 // sends them
	result() (result, error)     // reads as far as the first row, or the end, of the next answer
	finish() error               // reads what is left
}

// batchSender is the sender for few statements. pgconn's Batch costs less than its Pipeline, but it can neither prepare
// nor deallocate, nor tell which answer is whose if the server leaves one out.
type batchSender struct {
	ctx        context.Context
	pg         *pgconn.PgConn
	statements pgconn.Batch
	multi      *pgconn.MultiResultReader
	added      bool // statements holds something already

	// encoded is what the driver has sent before: BEGIN and RELEASE in their few varieties are encoded once.
	encoded map[[maxControl]string]pgconn.Batch
}

// maxControl is how many statements of the driver's own go together at most: ROLLBACK, BEGIN, SAVEPOINT.
const maxControl = 3

// newBatch makes the batch of the session ready: there is one at a time.
func (s *Session) newBatch(ctx context.Context) *batchSender {
	b := &s.batch
	if b.encoded == nil {
		b.encoded = make(map[[maxControl]string]pgconn.Batch)
	}
	b.ctx, b.pg, b.statements, b.multi, b.added = ctx, s.PG, pgconn.Batch{}, nil, false
	return b
}

func (b *batchSender) control(statements []string) {
	switch {
	case len(statements) == 0:
		return
	case b.added:
		b.encode(statements)
		return
	}
	var key [maxControl]string
	copy(key[:], statements)
	b.added = true
	if encoded, ok := b.encoded[key]; ok {
		b.statements = encoded
		return
	}
	b.encode(statements)
	b.encoded[key] = b.statements
}

func (b *batchSender) encode(statements []string) {
	for _, sql := range statements {
		b.statements.ExecParams(sql, nil, nil, nil, nil)
	}
}

func (b *batchSender) add(st *Statement) {
	b.added = true
	switch {
	case !st.named():
		b.statements.ExecParams(st.SQL, st.Values, st.ParamOIDs, st.ParamFormats, st.ResultFormats)
	case st.hasColumns():
		b.statements.ExecPrepared(st.Prepared.Name, st.Values, st.ParamFormats, st.ResultFormats)
	default:
		b.statements.ExecStatement(st.Prepared.Desc, st.Values, st.ParamFormats, st.ResultFormats)
	}
}

func (b *batchSender) sync() error {
	b.multi = b.pg.ExecBatch(b.ctx, &b.statements)
	return nil
}

func (b *batchSender) result() (result, error) {
	if b.multi.NextResult() {
		return b.multi.ResultReader(), nil
	}
	if err := b.finish(); err != nil {
		return nil, err
	}
	return nil, ErrProtocol
}

// finish does not accept more answers than there were statements, which MultiResultReader would pass over.
func (b *batchSender) finish() error {
	more := b.multi.NextResult()
	err := b.multi.Close()
	if more && err == nil {
		return ErrProtocol
	}
	return err
}

// pipelineSender is the sender for many statements; it can also prepare and deallocate them.
type pipelineSender struct {
	s      *Session
	pipe   *pgconn.Pipeline
	closes int       // what is deallocated before everything else
	first  *Prepared // prepared before the last statement, which runs it
	asked  *Prepared // described before the last statement
}

// newPipeline starts with deallocating the statements that are to go.
func (s *Session) newPipeline(ctx context.Context) *pipelineSender {
	p := &pipelineSender{s: s, pipe: s.PG.StartPipeline(ctx)}
	for _, name := range s.Statements.takeDoomed() {
		p.deallocate(name)
	}
	return p
}

// deallocate comes before everything else.
func (p *pipelineSender) deallocate(name string) {
	p.pipe.SendDeallocate(name)
	p.closes++
}

func (p *pipelineSender) control(statements []string) {
	for _, sql := range statements {
		p.pipe.SendQueryParams(sql, nil, nil, nil, nil)
	}
}

func (p *pipelineSender) add(st *Statement) {
	p.ask(st)
	switch {
	case st.Form == Parse:
		p.parse(st.SQL)
	case !st.named():
		p.pipe.SendQueryParams(st.SQL, st.Values, st.ParamOIDs, st.ParamFormats, st.ResultFormats)
	case st.hasColumns():
		p.pipe.SendQueryPrepared(st.Prepared.Name, st.Values, st.ParamFormats, st.ResultFormats)
	default:
		p.pipe.SendQueryStatement(st.Prepared.Desc, st.Values, st.ParamFormats, st.ResultFormats)
	}
}

// addFirst adds a statement that the server prepares and runs. The answer describes itself: what was learnt before may
// be out of date.
func (p *pipelineSender) addFirst(st *Statement) {
	p.ask(st)
	p.first = st.Prepared
	p.pipe.SendPrepare(st.Prepared.Name, st.SQL, st.ParamOIDs)
	p.pipe.SendQueryPrepared(st.Prepared.Name, st.Values, st.ParamFormats, st.ResultFormats)
}

func (p *pipelineSender) parse(sql string) { p.pipe.SendPrepare("", sql, nil) }

func (p *pipelineSender) sync() error {
	if err := p.pipe.Sync(); err != nil {
		return err
	}
	for range p.closes {
		if _, err := p.pipe.GetResults(); err != nil {
			return err
		}
	}
	return nil
}

func (p *pipelineSender) result() (result, error) {
	results, err := p.pipe.GetResults()
	if err != nil {
		return nil, err
	}
	switch results := results.(type) {
	case *pgconn.ResultReader:
		return results, nil
	case *pgconn.StatementDescription: // of a Parse alone
		return nil, nil
	}
	return nil, ErrProtocol
}

// prepared reads the answer to the Parse of a statement that runs for the first time.
func (p *pipelineSender) prepared() error {
	desc, err := p.description()
	if err != nil {
		return err
	}
	p.first.onServer = true
	if !p.first.describes(desc) {
		p.s.Statements.Forget(p.first) // what was described before is out of date
	}
	return nil
}

// description reads the answer to a Parse.
func (p *pipelineSender) description() (*pgconn.StatementDescription, error) {
	results, err := p.pipe.GetResults()
	if err != nil {
		return nil, err
	}
	if desc, ok := results.(*pgconn.StatementDescription); ok {
		return desc, nil
	}
	return nil, ErrProtocol
}

func (p *pipelineSender) finish() error { return p.pipe.Close() }

package cockroachdb

import (
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// prepared is what is known of a statement's text once the server has described it.
type prepared struct {
	name          string // "" for a description alone
	desc          *pgconn.StatementDescription
	paramFormats  []int16 // of the latest arguments: the next ones will be of the same types
	resultFormats []int16
	shape         *shape
	traits        traits

	refs int           // the driver.Stmts that use it
	elem *list.Element // its place among those that may be evicted; nil while a driver.Stmt uses it
	gone bool          // the server has it no longer, or soon won't
}

func newPrepared(name, sql string, desc *pgconn.StatementDescription) *prepared {
	desc.Name, desc.SQL = name, sql
	formats := make([]int16, len(desc.Fields))
	for i, field := range desc.Fields {
		formats[i] = databaseSQLFormats[field.DataTypeOID]
	}
	return &prepared{name: name, desc: desc, resultFormats: formats, shape: shapeOf(desc.Fields, formats), traits: traitsOf(sql)}
}

// copyOf gives a copy of formats that stays as it is; mostly it has been made before.
func (p *prepared) copyOf(formats []int16) []int16 {
	if p == nil {
		return slices.Clone(formats)
	}
	if !slices.Equal(p.paramFormats, formats) {
		p.paramFormats = slices.Clone(formats)
	}
	return p.paramFormats
}

// shape is the columns of a result as the application sees them, and how their values are decoded.
type shape struct {
	fields   []pgconn.FieldDescription
	names    []string
	decoders []decoder
	digest   uint64
}

// shapeOf copies fields. Formats are those of the result: one for each column, one for all, or none for text.
func shapeOf(fields []pgconn.FieldDescription, formats []int16) *shape {
	s := &shape{fields: make([]pgconn.FieldDescription, len(fields)), names: make([]string, len(fields))}
	var h maphash.Hash
	h.SetSeed(digestSeed)
	for i, field := range fields {
		switch len(formats) {
		case 0:
			field.Format = pgx.TextFormatCode
		case 1:
			field.Format = formats[0]
		default:
			field.Format = formats[min(i, len(formats)-1)]
		}
		s.fields[i], s.names[i] = field, field.Name

		var meta [14]byte
		binary.BigEndian.PutUint32(meta[0:], uint32(len(field.Name)))
		binary.BigEndian.PutUint32(meta[4:], field.DataTypeOID)
		binary.BigEndian.PutUint32(meta[8:], uint32(field.TypeModifier))
		binary.BigEndian.PutUint16(meta[12:], uint16(field.Format))
		_, _ = h.Write(meta[:])
		_, _ = h.WriteString(field.Name)
	}
	s.digest = h.Sum64()
	return s
}

// fits says whether s is the shape of an answer with these fields.
func (s *shape) fits(fields []pgconn.FieldDescription) bool {
	return slices.EqualFunc(s.fields, fields, func(a, b pgconn.FieldDescription) bool {
		return a.DataTypeOID == b.DataTypeOID && a.TypeModifier == b.TypeModifier && a.Format == b.Format && a.Name == b.Name
	})
}

// shapeOfAnswer is the shape of an answer that the server described by itself.
func shapeOfAnswer(fields []pgconn.FieldDescription) *shape {
	formats := make([]int16, len(fields))
	for i, field := range fields {
		formats[i] = field.Format
	}
	return shapeOf(fields, formats)
}

// statementCache holds the prepared statements of a connection, at most capacity of them besides those that a driver.Stmt
// uses. What is evicted is deallocated with the next message, at no round trip of its own.
type statementCache struct {
	capacity int
	byText   map[string]*prepared
	recent   list.List // of those that no driver.Stmt uses, the latest first
	doomed   []string  // names to deallocate
	names    int       // for names that were never used before on this connection
}

func newStatementCache(capacity int) *statementCache {
	return &statementCache{capacity: capacity, byText: make(map[string]*prepared)}
}

func (sc *statementCache) get(sql string) *prepared {
	p := sc.byText[sql]
	if p != nil && p.elem != nil {
		sc.recent.MoveToFront(p.elem)
	}
	return p
}

// newName is a name that the connection has never used, so that a statement which is still to be deallocated is not in the way.
func (sc *statementCache) newName() string {
	sc.names++
	return "reprise_" + strconv.Itoa(sc.names)
}

// put gives p a place in the cache; the one that was used longest ago may lose its own for it.
func (sc *statementCache) put(p *prepared) {
	sc.byText[p.desc.SQL] = p
	p.elem = sc.recent.PushFront(p)
	for sc.recent.Len() > sc.capacity {
		sc.forget(sc.recent.Back().Value.(*prepared))
	}
}

// pin keeps p for a driver.Stmt: it is not evicted, and takes no place from others.
func (sc *statementCache) pin(p *prepared) {
	p.refs++
	sc.byText[p.desc.SQL] = p
	if p.elem != nil {
		sc.recent.Remove(p.elem)
		p.elem = nil
	}
}

// unpin is for a driver.Stmt that has been closed.
func (sc *statementCache) unpin(p *prepared) {
	p.refs--
	if p.refs == 0 && !p.gone {
		sc.put(p)
	}
}

// forget takes p out of the cache and has the server deallocate it.
func (sc *statementCache) forget(p *prepared) {
	if p.gone {
		return
	}
	p.gone = true
	if sc.byText[p.desc.SQL] == p {
		delete(sc.byText, p.desc.SQL)
	}
	if p.elem != nil {
		sc.recent.Remove(p.elem)
		p.elem = nil
	}
	if p.name != "" {
		sc.doomed = append(sc.doomed, p.name)
	}
}

func (sc *statementCache) takeDoomed() []string {
	names := sc.doomed
	sc.doomed = nil
	return names
}

// describe finds or asks for the description of a statement that is not explicitly prepared.
func (c *Conn) describe(ctx context.Context, t *tx, mode pgx.QueryExecMode, sql string) (*prepared, form, error) {
	switch mode {
	case pgx.QueryExecModeCacheStatement:
		if c.statements.capacity <= 0 {
			return nil, 0, errNoStatementCache
		}
		p, err := c.prepare(ctx, t, sql)
		return p, formPrepared, err
	case pgx.QueryExecModeCacheDescribe:
		if c.descriptions.capacity <= 0 {
			return nil, 0, errNoDescriptionCache
		}
		if p := c.descriptions.get(sql); p != nil {
			return p, formUnnamed, nil
		}
	}
	p, err := c.parse(ctx, t, "", sql)
	if err == nil && mode == pgx.QueryExecModeCacheDescribe {
		c.descriptions.put(p)
	}
	return p, formUnnamed, err
}

// prepare finds sql among the prepared statements of the connection or prepares it.
func (c *Conn) prepare(ctx context.Context, t *tx, sql string) (*prepared, error) {
	if p := c.statements.get(sql); p != nil {
		return p, nil
	}
	p, err := c.parse(ctx, t, c.statements.newName(), sql)
	if err != nil {
		return nil, err
	}
	c.statements.put(p)
	return p, nil
}

// prepareFor is prepare for a driver.Stmt.
func (c *Conn) prepareFor(ctx context.Context, t *tx, sql string) (p *prepared, err error) {
	if p = c.statements.get(sql); p != nil {
		c.trace.alreadyPrepared(ctx, c.pc, t, p)
	} else if p, err = c.parse(ctx, t, c.statements.newName(), sql); err != nil {
		return nil, err
	}
	c.statements.pin(p)
	return p, nil
}

// invalidate forgets a statement that the server has lost or outgrown. Where it has lost one, it has lost all of them.
func (c *Conn) invalidate(p *prepared, stale error) {
	switch {
	case p.name == "":
		c.descriptions.forget(p)
	case codeOf(stale) == codeNoPreparedStatement:
		for _, p := range c.statements.byText {
			c.statements.forget(p)
		}
	default:
		c.statements.forget(p)
	}
}

// prepareAnew prepares the text of s again, in the form that s has.
func (c *Conn) prepareAnew(ctx context.Context, t *tx, s *statement) (*prepared, error) {
	if s.form == formPrepared {
		return c.prepare(ctx, t, s.sql)
	}
	return c.parse(ctx, t, "", s.sql)
}

// parse has the server parse and describe sql. Inside a transaction this travels with what opens the transaction, and a
// conflict is absorbed as for any other statement.
func (c *Conn) parse(ctx context.Context, t *tx, name, sql string) (p *prepared, err error) {
	if c.trace.prepare != nil {
		ctx = c.trace.prepare.TracePrepareStart(t.marked(ctx), c.pc, pgx.TracePrepareStartData{Name: name, SQL: sql})
		defer func() { c.trace.prepare.TracePrepareEnd(ctx, c.pc, pgx.TracePrepareEndData{Err: err}) }()
	}
	var desc *pgconn.StatementDescription
	tried, ddl := false, ""
	if isDDL(sql) || mayBeDDL(sql) {
		ddl = sql // to parse it is enough
	}
	err = t.attempt(ctx, ddl, func(opening []string) (sent bool, err error) {
		if tried && name != "" { // the server may know the name since the last try, though that failed
			name = c.statements.newName()
		}
		tried = true
		desc, sent, err = c.sendParse(ctx, opening, name, sql)
		return sent, err
	})
	if err == nil {
		return newPrepared(name, sql, desc), nil
	}

	var pgErr *pgconn.PgError
	if t.explicit && errors.As(err, &pgErr) {
		t.record(&statement{form: formParse, sql: sql}).fail(pgErr)
	}
	return nil, err
}

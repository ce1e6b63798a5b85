package crdbmodel

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type kind int

const (
	kindBegin kind = iota
	kindCommit
	kindRollback
	kindSavepoint
	kindRollbackTo
	kindRelease
	kindSetTransaction
	kindCreateTable
	kindDropTables
	kindInsert
	kindSelect
	kindUpdate
)

// A statement is parsed. Its tables are looked up when it runs.
type statement struct {
	kind    kind
	text    string
	name    string   // of the savepoint
	tables  []string // one, but for SELECT and DROP TABLE
	modes   modes
	columns []column // of CREATE TABLE
	key     []int    // likewise
	items   []item   // of SELECT and RETURNING
	where   *expr
	locks   bool // FOR UPDATE
	set     []assignment
	into    []string // the columns that INSERT lists; nil for all
	values  []*expr  // of INSERT
	series  []series // that INSERT selects from
	params  int
}

// modes are those of a transaction.
type modes struct {
	level level
	high  bool
}

// An item is a column of a result: an expression, or an aggregate of one, with what stands for it where there is no
// row.
type item struct {
	name      string
	aggregate string // "", "count", "count distinct", "sum", "max"
	x         *expr
	without   *expr
}

type assignment struct {
	column string
	x      *expr
}

// A series is generate_series(from, to), as a table of one column.
type series struct {
	from, to *expr
	column   string
}

// parse parses a text of any number of statements. The caller holds the mutex.
func (e *engine) parse(text string) (list []*statement, err error) {
	if list, known := e.parsed[text]; known {
		return list, nil
	}
	defer recovered(&err)
	p := &parser{text: text, tokens: tokens(text)}
	for p.skip(); len(p.tokens) > 0; p.skip() {
		st := p.statement()
		if len(p.tokens) > 0 && p.tokens[0] != ";" {
			p.refuse()
		}
		st.text, st.params = text, p.params
		list = append(list, st)
	}
	e.parsed[text] = list
	return list, nil
}

// recovered has a function that panics with a failure return it.
func recovered(err *error) {
	switch x := recover().(type) {
	case nil:
	case *failure:
		*err = x
	default:
		panic(x)
	}
}

var tokenPattern = regexp.MustCompile(`--[^\n]*|\s+|\$?\w+|"[a-z0-9_]+"|<>|.`)

// tokens returns words, in lower case and without quotes, numbers and signs.
func tokens(text string) (list []string) {
	for _, token := range tokenPattern.FindAllString(text, -1) {
		if !strings.HasPrefix(token, "--") && strings.TrimSpace(token) != "" {
			list = append(list, strings.ToLower(strings.Trim(token, `"`)))
		}
	}
	return list
}

// A parser takes tokens from the front. It panics with a failure where it does not know what follows.
type parser struct {
	text   string
	tokens []string
	params int
}

func (p *parser) refuse() { panic(unsupported("the statement " + p.text)) }

func (p *parser) skip() {
	for p.take(";") {
		p.params = 0
	}
}

// take takes these tokens, if they are the next.
func (p *parser) take(words ...string) bool {
	if len(p.tokens) < len(words) || !slices.Equal(p.tokens[:len(words)], words) {
		return false
	}
	p.tokens = p.tokens[len(words):]
	return true
}

func (p *parser) need(words ...string) {
	if !p.take(words...) {
		p.refuse()
	}
}

func (p *parser) word() string {
	if len(p.tokens) == 0 || strings.ContainsAny(p.tokens[0][:1], "$;(),=<>+-*/%.'\"") {
		p.refuse()
	}
	word := p.tokens[0]
	p.tokens = p.tokens[1:]
	return word
}

// list calls one for each element of a list with commas.
func (p *parser) list(one func()) {
	for one(); p.take(","); {
		one()
	}
}

func (p *parser) statement() *statement {
	switch {
	case p.take("begin"):
		return &statement{kind: kindBegin, modes: p.modes()}
	case p.take("set", "transaction"):
		return &statement{kind: kindSetTransaction, modes: p.modes()}
	case p.take("commit"):
		return &statement{kind: kindCommit}
	case p.take("savepoint"):
		return &statement{kind: kindSavepoint, name: p.word()}
	case p.take("rollback", "to", "savepoint"), p.take("rollback", "to"):
		return &statement{kind: kindRollbackTo, name: p.word()}
	case p.take("rollback"):
		return &statement{kind: kindRollback}
	case p.take("release", "savepoint"), p.take("release"):
		return &statement{kind: kindRelease, name: p.word()}
	case p.take("create", "table"):
		return p.createTable()
	case p.take("drop", "table", "if", "exists"):
		st := &statement{kind: kindDropTables}
		p.list(func() { st.tables = append(st.tables, p.word()) })
		return st
	case p.take("insert", "into"):
		return p.insert()
	case p.take("select"):
		return p.query()
	case p.take("update"):
		return p.update()
	}
	p.refuse()
	return nil
}

func (p *parser) modes() (m modes) {
	for {
		switch {
		case p.take("priority", "high"):
			m.high = true
		case p.take("isolation", "level", "read", "committed"):
			m.level = readCommitted
		case p.take("isolation", "level", "serializable"), p.take("read", "only"), p.take("read", "write"), p.take(","):
		default:
			return m
		}
	}
}

func (p *parser) createTable() *statement {
	st := &statement{kind: kindCreateTable, tables: []string{p.word()}}
	p.need("(")
	p.list(func() {
		if p.take("primary", "key", "(") {
			p.list(func() { st.key = append(st.key, find(st.columns, p.word())) })
			p.need(")")
			return
		}
		st.columns = append(st.columns, p.column())
		if p.constraints(&st.columns[len(st.columns)-1]) {
			st.key = []int{len(st.columns) - 1}
		}
	})
	p.need(")")
	if len(st.key) == 0 || len(st.key) > len(key{}) {
		p.refuse()
	}
	return st
}

const (
	oidBool = 16
	oidInt  = 20
)

// column is a name and a type. BIGSERIAL is an INT with DEFAULT unique_rowid()
// [docs: "SERIAL", serial_normalization=rowid, the default].
func (p *parser) column() column {
	c := column{name: p.word(), oid: oidInt}
	switch p.word() {
	case "int", "bigint":
	case "bigserial":
		c.generated = true
	case "bool":
		c.oid = oidBool
	default:
		p.refuse()
	}
	return c
}

// constraints takes what follows a column, in any order, and reports whether it is the primary key.
func (p *parser) constraints(c *column) (isKey bool) {
	for {
		switch {
		case p.take("primary", "key"):
			isKey = true
		case p.take("default", "unique_rowid", "(", ")"):
			c.generated = true
		case p.take("not", "null"): // there is no NULL
		default:
			return isKey
		}
	}
}

func (p *parser) insert() *statement {
	st := &statement{kind: kindInsert, tables: []string{p.word()}}
	if p.take("(") {
		p.list(func() { st.into = append(st.into, p.word()) })
		p.need(")")
	}
	value := func() { st.values = append(st.values, p.expr()) }
	if p.take("values", "(") {
		p.list(value)
		p.need(")")
	} else {
		p.series(st, value)
	}
	st.items = p.returning()
	return st
}

// series is a SELECT of series, for an INSERT.
func (p *parser) series(st *statement, value func()) {
	p.need("select")
	p.list(value)
	p.need("from")
	p.list(func() {
		p.need("generate_series", "(")
		s := series{from: p.expr()}
		p.need(",")
		s.to = p.expr()
		p.need(")", "as")
		if s.column = p.word(); p.take("(") {
			s.column = p.word()
			p.need(")")
		}
		st.series = append(st.series, s)
	})
}

func (p *parser) query() *statement {
	st := &statement{kind: kindSelect, items: p.items()}
	if p.take("from") {
		p.list(func() { st.tables = append(st.tables, p.word()) })
		st.where = p.condition()
		st.locks = p.take("for", "update")
	}
	return st
}

func (p *parser) update() *statement {
	st := &statement{kind: kindUpdate, tables: []string{p.word()}}
	p.need("set")
	p.list(func() {
		a := assignment{column: p.word()}
		p.need("=")
		a.x = p.expr()
		st.set = append(st.set, a)
	})
	st.where = p.condition()
	st.items = p.returning()
	return st
}

func (p *parser) returning() []item {
	if p.take("returning") {
		return p.items()
	}
	return nil
}

func (p *parser) condition() *expr {
	if p.take("where") {
		return p.expr()
	}
	return nil
}

func (p *parser) items() (list []item) {
	p.list(func() {
		if p.take("coalesce", "(") {
			it := p.item()
			p.need(",")
			it.name, it.without = "coalesce", p.expr()
			p.need(")")
			list = append(list, it)
			return
		}
		list = append(list, p.item())
	})
	return list
}

var aggregateForms = []struct {
	begins    []string
	aggregate string
	ends      []string
}{
	{[]string{"count", "(", "*"}, "count", []string{")"}},
	{[]string{"count", "(", "distinct"}, "count distinct", []string{")"}},
	{[]string{"sum", "("}, "sum", []string{")"}},
	{[]string{"max", "("}, "max", []string{")"}},
}

func (p *parser) item() item {
	for _, a := range aggregateForms {
		if p.take(a.begins...) {
			it := item{name: a.begins[0], aggregate: a.aggregate}
			if a.aggregate != "count" {
				it.x = p.expr()
			}
			p.need(a.ends...)
			return it
		}
	}
	x := p.expr()
	if x.op == "column" {
		return item{name: x.name, x: x}
	}
	return item{name: "?column?", x: x}
}

// expr is a conjunction.
func (p *parser) expr() *expr {
	x := p.comparison()
	for p.take("and") {
		x = &expr{op: "and", parts: []*expr{x, p.comparison()}}
	}
	return x
}

func (p *parser) comparison() *expr {
	if p.take("not") {
		return &expr{op: "not", parts: []*expr{p.comparison()}}
	}
	return p.operation([]string{"=", "<>", "<", ">"}, p.sum)
}

func (p *parser) sum() *expr { return p.operation([]string{"+", "-"}, p.product) }

func (p *parser) product() *expr { return p.operation([]string{"*", "%"}, p.operand) }

// operation is any number of operations of one rank, whose operands are of the next.
func (p *parser) operation(operators []string, operand func() *expr) *expr {
	x := operand()
	for len(p.tokens) > 0 && slices.Contains(operators, p.tokens[0]) {
		op := p.tokens[0]
		p.tokens = p.tokens[1:]
		x = &expr{op: op, parts: []*expr{x, operand()}}
	}
	return x
}

func (p *parser) operand() *expr {
	switch {
	case p.take("("):
		x := p.expr()
		p.need(")")
		return x
	case p.take("case", "when"):
		x := &expr{op: "case", parts: []*expr{p.expr()}}
		p.need("then")
		x.parts = append(x.parts, p.expr())
		p.need("else")
		x.parts = append(x.parts, p.expr())
		p.need("end")
		return x
	case p.take("true"):
		return &expr{op: "number", n: 1}
	case p.take("false"):
		return &expr{op: "number"}
	case len(p.tokens) > 0 && p.tokens[0][0] == '$':
		x := &expr{op: "parameter", n: p.number(p.tokens[0][1:])}
		p.params = max(p.params, int(x.n))
		return x
	case len(p.tokens) > 0 && p.tokens[0][0] >= '0' && p.tokens[0][0] <= '9':
		return &expr{op: "number", n: p.number(p.tokens[0])}
	}
	return &expr{op: "column", name: p.word()}
}

// number takes the next token, whose digits are given.
func (p *parser) number(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		p.refuse()
	}
	p.tokens = p.tokens[1:]
	return n
}

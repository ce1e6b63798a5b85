package crdbmodel

import (
	"fmt"
	"slices"
	"time"
)

// A result is what a statement answers. A value that is nil is NULL.
type result struct {
	tag     string
	columns []column
	rows    [][]*int64
	touched int // rows read or written
}

func (e *engine) table(name string) *table {
	t := e.tables[name]
	if t == nil {
		panic(fail("42P01", "relation \""+name+"\" does not exist"))
	}
	return t
}

// columnsOf returns the columns of the tables of a statement, one table after the other.
func (e *engine) columnsOf(st *statement) (all []column) {
	if st.kind < kindInsert {
		return nil
	}
	for _, name := range st.tables {
		all = append(all, e.table(name).columns...)
	}
	return all
}

// describe returns what parameters a statement takes, and with what columns it answers; nil if it answers with none.
func (e *engine) describe(st *statement) (params []uint32, answer []column, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer recovered(&err)
	columns := e.columnsOf(st)
	params = slices.Repeat([]uint32{oidInt}, st.params)
	typed := func(name string, x *expr) {
		if x.op == "parameter" {
			params[x.n-1] = columns[find(columns, name)].oid
		}
	}
	st.where.comparisons(func(_, column string, with *expr) { typed(column, with) })
	for _, a := range st.set {
		typed(a.column, a.x)
	}
	for i, name := range st.inserted(columns) {
		if i < len(st.values) {
			typed(name, st.values[i])
		}
	}
	return params, answerOf(st, columns), nil
}

func answerOf(st *statement, columns []column) (answer []column) {
	for _, it := range st.items {
		c := column{name: it.name, oid: oidInt}
		if it.aggregate == "" && it.x.op == "column" {
			c.oid = columns[find(columns, it.x.name)].oid
		}
		answer = append(answer, c)
	}
	return answer
}

// run runs a statement in a transaction: half of its work before it asks for locks, half after.
func (s *session) run(t *txn, st *statement, params []int64) (*result, error) {
	cfg := &s.e.cfg
	s.e.work(s.id, cfg.Statement/2)
	s.visit(st, params)
	res, err := s.e.apply(t, st, params)
	if res != nil {
		s.e.work(s.id, cfg.Statement/2+cfg.Row*time.Duration(max(0, res.touched-1)))
	} else {
		s.e.work(s.id, cfg.Statement/2)
	}
	return res, err
}

func (e *engine) apply(t *txn, st *statement, params []int64) (res *result, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer recovered(&err)
	e.start(t)
	v := env{columns: e.columnsOf(st), params: params}
	switch st.kind {
	case kindCreateTable:
		return e.createTable(st)
	case kindDropTables:
		for _, name := range st.tables {
			delete(e.tables, name)
		}
		return &result{tag: "DROP TABLE"}, nil
	case kindInsert:
		return e.insert(t, st, v)
	case kindSelect:
		return e.query(t, st, v)
	case kindUpdate:
		return e.update(t, st, v)
	}
	return nil, unsupported("the statement " + st.text + " here")
}

func (e *engine) createTable(st *statement) (*result, error) {
	name := st.tables[0]
	if e.tables[name] != nil {
		return nil, fail("42P07", "relation \""+name+"\" already exists")
	}
	e.tables[name] = &table{name: name, columns: st.columns, key: st.key}
	return &result{tag: "CREATE TABLE"}, nil
}

// inserted returns the names of the columns, of the table's, that an INSERT has values for; nil for other statements.
func (st *statement) inserted(columns []column) (names []string) {
	if st.kind != kindInsert || st.into != nil {
		return st.into
	}
	for _, c := range columns {
		names = append(names, c.name)
	}
	return names
}

func (e *engine) insert(t *txn, st *statement, v env) (*result, error) {
	tbl := e.table(st.tables[0])
	names := st.inserted(tbl.columns)
	if len(st.values) != len(names) {
		return nil, fail("42601", "INSERT has more, or less, expressions than there are columns")
	}
	var inserted [][]int64
	err := eachOf(st.series, env{params: v.params}, func(v env) error {
		row := e.newRow(tbl, names, st.values, v)
		inserted = append(inserted, row)
		return e.insertRow(t, tbl, row)
	})
	n := len(inserted)
	res := &result{tag: fmt.Sprint("INSERT 0 ", n), columns: answerOf(st, v.columns), touched: n}
	if len(st.items) > 0 {
		res.rows = project(st.items, inserted, v)
	}
	return res, err
}

// eachOf calls do for each combination of the values of series; once if there is none.
func eachOf(list []series, v env, do func(env) error) error {
	if len(list) == 0 {
		return do(v)
	}
	first := list[0]
	to := first.to.eval(v)
	for n := first.from.eval(v); n <= to; n++ {
		inner := v
		inner.columns = append(slices.Clip(v.columns), column{name: first.column, oid: oidInt})
		inner.values = append(slices.Clip(v.values), n)
		if err := eachOf(list[1:], inner, do); err != nil {
			return err
		}
	}
	return nil
}

// newRow has the values of an INSERT for the columns that it names, and makes those that are generated.
//
// unique_rowid() never gives out a number twice: each run of a statement has new ones
// [docs: "SQL Functions", unique_rowid; recorded]. On CockroachDB they are made of the clock and the
// number of the node. Here they count, so that the same course of events has the same ones.
func (e *engine) newRow(tbl *table, names []string, exprs []*expr, v env) []int64 {
	row := make([]int64, len(tbl.columns))
	for i, name := range names {
		row[find(tbl.columns, name)] = exprs[i].eval(v)
	}
	for i, c := range tbl.columns {
		switch {
		case slices.Contains(names, c.name):
		case c.generated:
			e.rowIDs++
			row[i] = e.rowIDs
		default:
			panic(unsupported("an INSERT that leaves out column " + c.name + ", which has no default"))
		}
	}
	return row
}

func (e *engine) insertRow(t *txn, tbl *table, value []int64) error {
	var k key
	for i, c := range tbl.key {
		k[i] = value[c]
	}
	r := tbl.row(k)
	old, err := e.lockedRead(t, r)
	switch {
	case err != nil:
		return err
	case old != nil:
		return fail("23505", "duplicate key value violates unique constraint \""+tbl.name+"_pkey\"")
	}
	e.write(t, r, value)
	return nil
}

// spanOf returns the part of a table in which a condition leaves rows to look at: as many columns of the key, from the
// first, as it compares with a value by "=".
func spanOf(tbl *table, where *expr, v env) span {
	s := span{table: tbl}
	for _, c := range tbl.key {
		value, found := where.equals(tbl.columns[c].name, v)
		if !found {
			break
		}
		s.prefix = append(s.prefix, value)
	}
	return s
}

// lockedRows locks the rows of a span, one after the other, and returns those that there are and what is in them.
func (e *engine) lockedRows(t *txn, s span) (rows []*row, values [][]int64, err error) {
	point, isPoint := s.point()
	list := []*row{point}
	if !isPoint {
		list = slices.Clone(s.rows())
	}
	for _, r := range list {
		value, err := e.lockedRead(t, r)
		if err != nil {
			return nil, nil, err
		}
		if value != nil {
			rows, values = append(rows, r), append(values, value)
		}
	}
	if !isPoint {
		s.table.read.note(t.readAt, t)
		t.spans = append(t.spans, s)
	}
	return rows, values, nil
}

// rowsOf reads one table of a query.
func (e *engine) rowsOf(t *txn, st *statement, s span) (values [][]int64, err error) {
	if st.locks {
		_, values, err = e.lockedRows(t, s)
		return values, err
	}
	rows, err := e.read(t, s)
	for _, r := range rows {
		if value := r.valueFor(t); value != nil {
			values = append(values, value)
		}
	}
	return values, err
}

func (e *engine) query(t *txn, st *statement, v env) (*result, error) {
	all := [][]int64{{}}
	touched := 0
	for _, name := range st.tables {
		values, err := e.rowsOf(t, st, spanOf(e.table(name), st.where, v))
		if err != nil {
			return nil, err
		}
		touched += len(values)
		all = product(all, values)
	}
	all = slices.DeleteFunc(all, func(row []int64) bool { v.values = row; return !st.where.holds(v) })
	res := &result{columns: answerOf(st, v.columns), touched: touched}
	if st.items[0].aggregate != "" {
		res.rows = [][]*int64{aggregates(st.items, all, v)}
	} else {
		res.rows = project(st.items, all, v)
	}
	res.tag = fmt.Sprint("SELECT ", len(res.rows))
	return res, nil
}

func product(left, right [][]int64) (all [][]int64) {
	for _, l := range left {
		for _, r := range right {
			all = append(all, append(slices.Clip(l), r...))
		}
	}
	return all
}

func project(items []item, rows [][]int64, v env) [][]*int64 {
	cells := make([]int64, len(rows)*len(items))
	out := make([][]*int64, len(rows))
	for i, row := range rows {
		v.values = row
		for j, it := range items {
			cell := &cells[i*len(items)+j]
			*cell = it.x.eval(v)
			out[i] = append(out[i], cell)
		}
	}
	return out
}

func aggregates(items []item, rows [][]int64, v env) (out []*int64) {
	for _, it := range items {
		n := it.over(rows, v)
		if n == nil && it.without != nil {
			value := it.without.eval(v)
			n = &value
		}
		out = append(out, n)
	}
	return out
}

// over returns the aggregate of rows; nil for the sum, or the greatest, of none.
func (it item) over(rows [][]int64, v env) *int64 {
	if it.aggregate == "count" {
		n := int64(len(rows))
		return &n
	}
	values := make([]int64, len(rows))
	for i, row := range rows {
		v.values = row
		values[i] = it.x.eval(v)
	}
	var n int64
	switch {
	case it.aggregate == "count distinct":
		slices.Sort(values)
		n = int64(len(slices.Compact(values)))
	case len(values) == 0:
		return nil
	case it.aggregate == "max":
		n = slices.Max(values)
	default:
		for _, value := range values {
			n += value
		}
	}
	return &n
}

func (e *engine) update(t *txn, st *statement, v env) (*result, error) {
	tbl := e.table(st.tables[0])
	rows, values, err := e.lockedRows(t, spanOf(tbl, st.where, v))
	if err != nil {
		return nil, err
	}
	var written [][]int64
	for i, r := range rows {
		if v.values = values[i]; !st.where.holds(v) {
			continue
		}
		value := slices.Clone(values[i])
		for _, a := range st.set {
			c := find(tbl.columns, a.column)
			if slices.Contains(tbl.key, c) {
				return nil, unsupported("a change of a primary key, as in " + st.text)
			}
			value[c] = a.x.eval(v)
		}
		e.write(t, r, value)
		written = append(written, value)
	}
	res := &result{tag: fmt.Sprint("UPDATE ", len(written)), columns: answerOf(st, v.columns), touched: len(rows)}
	if len(st.items) > 0 {
		res.rows = project(st.items, written, v)
	}
	return res, nil
}

package crdbmodel

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Of the catalogue the model has what the driver asks for: the columns of the unique keys of a table, of which there is
// one, before it adds a lock to a read, and the defaults of its columns before it pins the values of an INSERT.

// A question is one of the driver's about a table, whose name is the one parameter.
type question struct {
	begins  string
	columns []string // of the answer; all are texts
	rows    func(*table) [][]string
}

var questions = []*question{
	{
		begins:  "SELECT i.indexrelid::TEXT, a.attname::TEXT FROM pg_catalog.pg_class",
		columns: []string{"indexrelid", "attname"},
		rows:    keyColumns,
	},
	{
		begins: "SELECT a.attname::TEXT, a.attidentity::TEXT, a.attgenerated::TEXT, " +
			"coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') FROM pg_catalog.pg_class",
		columns: []string{"attname", "attidentity", "attgenerated", "coalesce"},
		rows:    defaults,
	},
}

const oidText = 25

// questionOf returns nil for a text that asks for something else.
func questionOf(text string) *question {
	i := slices.IndexFunc(questions, func(q *question) bool { return strings.HasPrefix(text, q.begins) })
	if i < 0 {
		return nil
	}
	return questions[i]
}

func (q *question) prepared() *prepared {
	p := &prepared{asks: q, params: []uint32{oidText}}
	for _, name := range q.columns {
		p.columns = append(p.columns, column{name: name, oid: oidText})
	}
	return p
}

func keyColumns(t *table) (rows [][]string) {
	for _, n := range t.key {
		rows = append(rows, []string{"1", t.columns[n].name})
	}
	return rows
}

// defaults has what pg_get_expr says on CockroachDB. No column is an identity or computed.
func defaults(t *table) (rows [][]string) {
	for _, c := range t.columns {
		expression := ""
		if c.generated {
			expression = "unique_rowid()"
		}
		rows = append(rows, []string{c.name, "", "", expression})
	}
	return rows
}

// answerQuestion answers with no row if there is no such table.
func (s *session) answerQuestion(q *question, quoted string) {
	s.e.mu.Lock()
	t := s.e.tables[strings.Trim(quoted, `"`)]
	s.e.mu.Unlock()
	var rows [][]string
	if t != nil {
		rows = q.rows(t)
	}
	a := s.reserve()
	for _, row := range rows {
		d := &pgproto3.DataRow{}
		for _, value := range row {
			d.Values = append(d.Values, []byte(value))
		}
		a.messages = append(a.messages, d)
	}
	a.messages = append(a.messages, &pgproto3.CommandComplete{CommandTag: []byte(fmt.Sprint("SELECT ", len(rows)))})
}

package crdbmodel

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Of the catalogue the model has what the driver asks for before it adds a lock to a read: the columns of the unique
// keys of a table, of which there is one.

const (
	keyQuestion = "SELECT i.indexrelid::TEXT, a.attname::TEXT FROM pg_catalog.pg_class"
	oidText     = 25
)

func isKeyQuestion(text string) bool { return strings.HasPrefix(text, keyQuestion) }

func preparedKeyQuestion() *prepared {
	return &prepared{
		asksKeys: true, params: []uint32{oidText}, columns: []column{{"indexrelid", oidText}, {"attname", oidText}},
	}
}

// answerKeys answers with the columns of a table's primary key.
func (s *session) answerKeys(quoted string) {
	s.e.mu.Lock()
	t := s.e.tables[strings.Trim(quoted, `"`)]
	s.e.mu.Unlock()
	a, rows := s.reserve(), 0
	if t != nil {
		for _, n := range t.key {
			row := &pgproto3.DataRow{Values: [][]byte{[]byte("1"), []byte(t.columns[n].name)}}
			a.messages, rows = append(a.messages, row), rows+1
		}
	}
	a.messages = append(a.messages, &pgproto3.CommandComplete{CommandTag: []byte(fmt.Sprint("SELECT ", rows))})
}

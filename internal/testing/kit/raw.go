package kit

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// A Raw is one answer of a [Answer]: an error or a tag, then ReadyForQuery if there is a Status.
type Raw struct {
	Tag, Err string
	Status   byte
}

// Answer answers the next exchange, whatever it is.
func Answer(c *fakepg.Conn, answers ...Raw) {
	c.ReceiveUntilSync()
	for _, a := range answers {
		c.Send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{})
		if a.Err != "" {
			c.Send(fakepg.Error(a.Err, "restart transaction: TransactionAbortedError"))
		} else {
			c.Send(&pgproto3.CommandComplete{CommandTag: []byte(a.Tag)})
		}
		if a.Status != 0 {
			c.Ready(a.Status)
		}
	}
}

// AnswerBegin answers the first exchange of a transaction, with an UPDATE.
func AnswerBegin(c *fakepg.Conn) {
	Answer(c, Raw{Tag: "BEGIN"}, Raw{Tag: "SAVEPOINT"}, Raw{Tag: "UPDATE 1", Status: 'T'})
}

// RowDescription is the message of these columns of texts, and DataRow the one of a row.
func RowDescription(names ...string) *pgproto3.RowDescription {
	m := &pgproto3.RowDescription{}
	for _, name := range names {
		m.Fields = append(m.Fields, pgproto3.FieldDescription{
			Name: []byte(name), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1,
		})
	}
	return m
}

// DataRow is the message of a row of texts.
func DataRow(values ...string) *pgproto3.DataRow {
	m := &pgproto3.DataRow{}
	for _, v := range values {
		m.Values = append(m.Values, []byte(v))
	}
	return m
}

// Acknowledge answers a Parse, a Describe, a Bind or a Close. There are no arguments, and no columns.
func Acknowledge(c *fakepg.Conn, m pgproto3.FrontendMessage) {
	switch m := m.(type) {
	case *pgproto3.Parse:
		c.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Describe:
		if m.ObjectType == 'S' {
			c.Send(&pgproto3.ParameterDescription{})
		}
		c.Send(&pgproto3.NoData{})
	case *pgproto3.Bind:
		c.Send(&pgproto3.BindComplete{})
	case *pgproto3.Close:
		c.Send(&pgproto3.CloseComplete{})
	}
}

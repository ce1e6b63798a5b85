package program

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What is done on the pgx connection behind the driver's, in the middle of a transaction: it must be part of it, or
// nothing.

var rawSpecs = map[Kind]spec{
	Copy: {
		name: "copy", exec: (*model).copyRows,
		about: func(s *Statement) string { return fmt.Sprintf("%d rows", s.Delta) },
	},
}

func (m *model) copyRows(s *Statement, _ any) (int64, error) {
	m.copied[m.program] += int(s.Delta)
	return s.Delta, nil
}

// A pgxConn is what Raw hands over: the driver's connection, or one that wraps it.
type pgxConn interface{ Conn() *pgx.Conn }

// onPgx says where a statement ran, and where its error comes from.
const onPgx = "on the pgx connection"

// execRaw runs a statement, with its arguments, on the pgx connection.
func (s *server) execRaw(ctx context.Context, st *Statement, text string, args []any) (affected int64, err error) {
	rawErr := s.conn.Raw(func(c any) error {
		pc := c.(pgxConn).Conn()
		if st.Kind == Copy {
			affected, err = s.copyOver(ctx, pc, st)
			return nil // else database/sql might close the connection
		}
		tag, execErr := pc.Exec(ctx, text, args...)
		affected, err = tag.RowsAffected(), execErr
		return nil
	})
	if rawErr != nil {
		return 0, rawErr
	}
	if err != nil {
		return 0, besides{onPgx, err}
	}
	return affected, nil
}

func (s *server) copyOver(ctx context.Context, pc *pgx.Conn, st *Statement) (int64, error) {
	var rows [][]any
	for i := range st.Delta {
		rows = append(rows, []any{s.program.ID, i})
	}
	return pc.CopyFrom(ctx, pgx.Identifier{"public", "copied"}, []string{"program", "i"}, pgx.CopyFromRows(rows))
}

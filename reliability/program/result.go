package program

import (
	"database/sql"
	"errors"
	"io"
)

// Results as database/sql has them.

type rowsResult struct{ *sql.Rows }

func (*server) rows(rows *sql.Rows, err error) (result, error) {
	if err != nil {
		return nil, err
	}
	return rowsResult{rows}, nil
}

func (r rowsResult) columns() ([]string, error) { return r.Columns() }
func (r rowsResult) close() error               { return r.Close() }

func (r rowsResult) next() ([]any, error) {
	if !r.Next() {
		if err := r.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	names, err := r.Columns()
	if err != nil {
		return nil, err
	}
	return scan(len(names), r.Scan)
}

func scan(columns int, into func(...any) error) ([]any, error) {
	row, dest := make([]any, columns), make([]any, columns)
	for i := range row {
		dest[i] = &row[i]
	}
	return row, into(dest...)
}

// A rowResult is a *sql.Row: it has one row, which may be looked at once.
type rowResult struct {
	*sql.Row
	width int
}

func (*server) row(st *Statement, row *sql.Row) (result, error) {
	if err := row.Err(); err != nil {
		return nil, err
	}
	return rowResult{row, len(specs[st.Kind].columns(st))}, nil
}

func (r rowResult) columns() ([]string, error) { return nil, errors.New("a *sql.Row tells no names") }
func (r rowResult) close() error               { return nil } // Scan has closed it

func (r rowResult) next() ([]any, error) {
	row, err := scan(r.width, r.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, io.EOF
	}
	return row, err
}

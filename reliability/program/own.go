package program

import (
	"context"
	"database/sql"
)

// An ownConn is the connection of those of a worker's programs that have one of their own.
type ownConn struct {
	db    *sql.DB
	keeps bool      // the next program has it, too
	conn  *sql.Conn // nil if there is none
}

// take returns the connection, and whether an earlier program had it. database/sql has closed one that is of no use to
// anybody any more.
func (o *ownConn) take(ctx context.Context) (conn *sql.Conn, kept bool, err error) {
	if o.conn != nil {
		if o.conn.Raw(func(any) error { return nil }) == nil {
			return o.conn, true, nil
		}
		o.close()
	}
	if o.conn, err = o.db.Conn(ctx); err != nil {
		o.conn = nil
	}
	return o.conn, false, err
}

// leave is called at the end of a program.
func (o *ownConn) leave() {
	if !o.keeps {
		o.close()
	}
}

func (o *ownConn) close() {
	if o.conn != nil {
		_ = o.conn.Close()
		o.conn = nil
	}
}

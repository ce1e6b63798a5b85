package faultmatrix_test

import "database/sql"

// onceDone are the tables after the first of two writes that are each committed on their own.
var onceDone = [][]string{{"0=zero", "1=" + value(1)}}

// restingTransactions have requests that find a connection at rest which the driver does not look at, or on which
// nothing is open.
var restingTransactions = []transaction{
	{name: "outside, in a row", run: outsideInARow, careful: true, perhaps: leftOpen, partly: onceDone},
	{name: "outside, prepared", run: outsidePrepared, careful: true, perhaps: leftOpen, partly: onceDone},
	{name: "outside, before a transaction", run: outsideThenTx, careful: true, perhaps: always[error], partly: onceDone},
}

// outsideInARow is two statements that the application runs on one connection.
func outsideInARow(p *runner) error {
	p.start()
	conn, err := p.db.Conn(p.begin)
	if err != nil {
		return err
	}
	defer conn.Close()
	return p.twice(func(args ...any) (sql.Result, error) { return conn.ExecContext(p.ctx, insertNote, args...) })
}

// outsidePrepared prepares a statement and runs it twice.
func outsidePrepared(p *runner) error {
	p.start()
	st, err := p.db.PrepareContext(p.ctx, insertNote)
	if err != nil {
		return err
	}
	defer st.Close()
	return p.twice(func(args ...any) (sql.Result, error) { return st.ExecContext(p.ctx, args...) })
}

func (p *runner) twice(exec func(args ...any) (sql.Result, error)) error {
	if err := p.alone(1, exec); err != nil {
		return err
	}
	return p.alone(2, exec)
}

// outsideThenTx is a statement, and a transaction on the same connection.
func outsideThenTx(p *runner) error {
	p.start()
	conn, err := p.db.Conn(p.begin)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = p.alone(1, func(args ...any) (sql.Result, error) { return conn.ExecContext(p.ctx, insertNote, args...) })
	if err != nil {
		return err
	}
	if p.tx, err = conn.BeginTx(p.begin, nil); err != nil {
		return err
	}
	defer p.rollback()
	if err := insert(2)(p); err != nil {
		return err
	}
	return p.tx.Commit()
}

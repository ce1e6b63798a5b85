package program

import (
	"database/sql"
	"slices"
)

// A loop of the application's own, as cockroach-go's ExecuteTx has it: what is retried is between a savepoint
// cockroach_restart and its release, which commits. COMMIT after that only ends the block.

// mostLoops is how often an application tries before it rolls back.
const mostLoops = 30

func (e *execution) loop(tx *sql.Tx) error {
	if _, err := tx.ExecContext(e.ctx, "SAVEPOINT cockroach_restart"); err != nil {
		return err
	}
	for range mostLoops {
		err := e.inside(tx)
		if err == nil {
			_, err = tx.ExecContext(e.step, "RELEASE SAVEPOINT cockroach_restart")
		}
		switch {
		case err == nil:
			return e.released(tx)
		case !slices.Contains(lost, codeWithin(err)):
			return err
		}
		if _, err := tx.ExecContext(e.ctx, "ROLLBACK TO SAVEPOINT cockroach_restart"); err != nil {
			return err
		}
	}
	return errForgone
}

// released ends the block of a transaction that is committed. That its context has ended is what database/sql says, and
// nothing of the driver's.
func (e *execution) released(tx *sql.Tx) error {
	if err := tx.Commit(); e.ctx.Err() == nil {
		return err
	}
	return nil
}

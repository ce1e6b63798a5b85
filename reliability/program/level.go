package program

import "database/sql"

// Isolation levels below SERIALIZABLE, which PostgreSQL has and crdbsim begins as SERIALIZABLE, as CockroachDB may.
//
// A program at such a level counts up the clock before all else. Whoever commits a write counts it up, too, so that
// nothing is committed from then on until the program has ended: it must be shown what it would be in a serial order.
// Where locks are learned nobody has a level: so early a lock on the clock leaves little for them to do.

// levelled says that one program of so many has a level of its own, if it can.
const levelled = 6

var levels = []sql.IsolationLevel{sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead}

// level gives a program another level than the default. A loop of its own would go on with the snapshot that has lost.
func (g *generator) level(p *Program) {
	if p.Tail != nil || p.Mask != Unmasked || p.Form == Looped {
		return
	}
	p.Level = levels[g.IntN(len(levels))]
	p.Clock, p.Enter = 0, g.IntN(len(p.Steps)+1)
}

// options are those of the program's transaction.
func (p *Program) options() *sql.TxOptions {
	return &sql.TxOptions{Isolation: p.Level, ReadOnly: p.Form == ReadOnly}
}

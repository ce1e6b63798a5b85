package history

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Duty is the workload of doctors who go off call if another one stays, and back on when they like. They look first,
// and believe what they were shown.
type Duty struct {
	db   *sql.DB
	txns notes[DutyTxn]
}

const doctors = 3

// NewDuty has all doctors on call.
func NewDuty(ctx context.Context, db *sql.DB) (*Duty, error) {
	return &Duty{db: db}, execAll(ctx, db,
		"CREATE TABLE duty (doctor INT PRIMARY KEY, on_call BOOL NOT NULL)",
		fmt.Sprintf("INSERT INTO duty SELECT g, true FROM generate_series(0, %d) AS g", doctors-1))
}

func onCall(rows *sql.Rows, err error) ([]int, error) {
	return collect(rows, err, func(rows *sql.Rows) (doctor int, err error) {
		err = rows.Scan(&doctor)
		return doctor, err
	})
}

const sqlOnCall = "SELECT doctor FROM duty WHERE on_call ORDER BY doctor"

// Go has a doctor look who is on call, and go off or on.
func (d *Duty) Go(ctx context.Context, way Way, doctor int, on bool) error {
	t := DutyTxn{Doctor: doctor}
	err := transact(ctx, d.db, way, func(tx *sql.Tx) (err error) {
		t.Saw, err = onCall(tx.QueryContext(ctx, sqlOnCall))
		if err != nil || !on && len(slices.DeleteFunc(slices.Clone(t.Saw), func(d int) bool { return d == doctor })) == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE duty SET on_call = $2 WHERE doctor = $1", doctor, on)
		return err
	})
	t.Outcome = outcomeOf(err)
	d.txns.add(t)
	return err
}

// Step runs a random transaction.
func (d *Duty) Step(ctx context.Context, _ int, rnd *rand.Rand) error {
	return d.Go(ctx, Way(rnd.IntN(2) == 0), rnd.IntN(doctors), rnd.IntN(2) == 0)
}

// Check says when nobody was on call.
func (d *Duty) Check(ctx context.Context) ([]Anomaly, error) {
	final, err := onCall(d.db.QueryContext(ctx, sqlOnCall))
	return CheckDuty(d.txns.all(), final), err
}

package history

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Registers is the workload of transactions on one register each.
type Registers struct {
	db     *sql.DB
	of     RegisterType
	n      int // how many there are
	steps  atomic.Int64
	values atomic.Int64
	began  time.Time
	ops    notes[RegisterOp]
}

// Clients look at few registers at a time, so that they meet, and move on to the next, so that each has a history of
// which it is soon decided whether some order explains it: that takes time exponential in the number of operations
// whose outcome is unknown.
const (
	registersAtATime = 2
	registersMove    = 40 // after so many steps the first one is left alone, and a new one is in use
)

// null is how a NULL is written down.
const null = "NULL"

// A RegisterType is what registers hold.
type RegisterType struct {
	column string   // its type
	read   string   // it as the columns of a query
	among  []string // its values; none stands for numbers that are all different
}

// What registers can hold. Truths and Pairs are of few values that are easily taken for each other where the bytes of
// a row run together.
var (
	Numbers = RegisterType{column: "INT", read: "v"}
	Truths  = RegisterType{column: "BOOL", read: "v", among: []string{null, "false", "true"}}
	Pairs   = RegisterType{
		column: "TEXT", read: "split_part(v, '/', 1), split_part(v, '/', 2)",
		among: []string{null, "/", "aV/b", "a/Vb", "VV/", "V/V"},
	}
)

// NewRegisters makes registers that hold NULL, for so many steps.
func NewRegisters(ctx context.Context, db *sql.DB, of RegisterType, steps int) (*Registers, error) {
	r := &Registers{db: db, of: of, n: steps/registersMove + registersAtATime, began: time.Now()}
	return r, execAll(ctx, db,
		"CREATE TABLE registers (k INT PRIMARY KEY, v "+of.column+")",
		fmt.Sprintf("INSERT INTO registers SELECT g, NULL FROM generate_series(0, %d) AS g", r.n-1))
}

// do runs a transaction on one register and writes it down.
func (r *Registers) do(ctx context.Context, way Way, o RegisterOp, body func(*sql.Tx, *RegisterOp) error) error {
	o.Call = time.Since(r.began)
	err := transact(ctx, r.db, way, func(tx *sql.Tx) error { return body(tx, &o) })
	o.Return, o.Outcome = time.Since(r.began), outcomeOf(err)
	r.ops.add(o)
	return err
}

// Read reads a register.
func (r *Registers) Read(ctx context.Context, way Way, client, key int) (saw string, err error) {
	err = r.do(ctx, way, RegisterOp{Client: client, Key: key, Kind: Read}, func(tx *sql.Tx, o *RegisterOp) (err error) {
		o.Saw, err = r.read(ctx, tx, key)
		saw = o.Saw
		return err
	})
	return saw, err
}

func (r *Registers) read(ctx context.Context, tx *sql.Tx, key int) (string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT "+r.of.read+" FROM registers WHERE k = $1", key)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	parts, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range parts {
		into[i] = &parts[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
	}
	return text(parts), rows.Err()
}

// text is a value as it is written down.
func text(parts []any) string {
	words := make([]string, len(parts))
	for i, p := range parts {
		if p == nil {
			return null
		}
		words[i] = fmt.Sprint(p)
	}
	return strings.Join(words, "/")
}

// Write writes a value into a register.
func (r *Registers) Write(ctx context.Context, way Way, client, key int, value string) error {
	op := RegisterOp{Client: client, Key: key, Kind: Write, New: value}
	return r.do(ctx, way, op, func(tx *sql.Tx, _ *RegisterOp) error {
		return r.write(ctx, tx, key, value)
	})
}

func (r *Registers) write(ctx context.Context, tx *sql.Tx, key int, value string) error {
	_, err := tx.ExecContext(ctx, "UPDATE registers SET v = $2 WHERE k = $1", key, r.argument(value))
	return err
}

// CompareAndSet reads a register and writes it if it holds old.
func (r *Registers) CompareAndSet(ctx context.Context, way Way, client, key int, old, value string) error {
	o := RegisterOp{Client: client, Key: key, Kind: CompareAndSet, Old: old, New: value}
	return r.do(ctx, way, o, func(tx *sql.Tx, o *RegisterOp) error {
		saw, err := r.read(ctx, tx, key)
		o.Set = saw == old
		if err != nil || !o.Set {
			return err
		}
		return r.write(ctx, tx, key, value)
	})
}

// CompareAndSetAtOnce leaves it to the server to compare, and looks at the number of rows affected.
func (r *Registers) CompareAndSetAtOnce(ctx context.Context, way Way, client, key int, old, value string) error {
	o := RegisterOp{Client: client, Key: key, Kind: CompareAndSet, Old: old, New: value}
	return r.do(ctx, way, o, func(tx *sql.Tx, o *RegisterOp) error {
		res, err := tx.ExecContext(ctx, "UPDATE registers SET v = $3 WHERE k = $1 AND v IS NOT DISTINCT FROM $2",
			key, r.argument(old), r.argument(value))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		o.Set = n == 1
		return err
	})
}

// argument is a value as the driver wants it. As it was made by Sprint, it can be parsed.
func (r *Registers) argument(value string) (arg any) {
	switch {
	case value == null:
	case r.of.column == "BOOL":
		arg, _ = strconv.ParseBool(value)
	case r.of.column == "INT":
		arg, _ = strconv.Atoi(value)
	default:
		arg = value
	}
	return arg
}

// value is a value to write.
func (r *Registers) value(rnd *rand.Rand) string {
	if len(r.of.among) > 0 {
		return r.of.among[rnd.IntN(len(r.of.among))]
	}
	return fmt.Sprint(r.values.Add(1))
}

// Step runs a random transaction. Half of the comparisons are with what was just read, so that some succeed.
func (r *Registers) Step(ctx context.Context, client int, rnd *rand.Rand) error {
	key := int(r.steps.Add(1))/registersMove + rnd.IntN(registersAtATime)
	way, value := Way(rnd.IntN(2) == 0), r.value(rnd)
	switch rnd.IntN(4) {
	case 0:
		_, err := r.Read(ctx, way, client, key)
		return err
	case 1:
		return r.Write(ctx, way, client, key, value)
	}
	old, err := r.Read(ctx, way, client, key)
	if err != nil {
		return err
	}
	if rnd.IntN(2) == 0 {
		return r.CompareAndSet(ctx, way, client, key, old, value)
	}
	return r.CompareAndSetAtOnce(ctx, way, client, key, old, value)
}

// Check reads all registers once more and says what is wrong with the history.
func (r *Registers) Check(ctx context.Context) ([]Anomaly, error) {
	for key := range r.n {
		if _, err := r.Read(ctx, Plain, -1, key); err != nil {
			return nil, err
		}
	}
	return CheckRegisters(r.ops.all(), null), nil
}

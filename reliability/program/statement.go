package program

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Kind is what a statement does.
type Kind int

// What a statement can do. Lo is its key, or it is about the keys from Lo up to Hi.
const (
	Get       Kind = iota // reads the key
	Scan                  // reads all keys of the range, in their order
	Wide                  // reads many long rows for each key of the range
	Count                 // counts them
	Divide                // divides by the number of the key, and fails if that is zero
	Set                   // writes a value to the key
	Add                   // adds to the numbers of the range
	Insert                // inserts the key, and fails if it is there
	Return                // is Insert with RETURNING
	Quiet                 // is Insert that does nothing if the key is there
	Upsert                // inserts the key or writes to it, and returns it
	Delete                // deletes the range
	Texts                 // is two statements in one text
	ReadClock             // reads the clock, which gives a program that writes nothing its place in the order
	tick                  // counts the clock up
	enter                 // notes the commit
)

// How a statement is run.
type How int

// The ways to run a statement.
const (
	Direct   How = iota // by the transaction
	Prepared            // by a statement that the transaction has prepared; the same text shares one
	Shared              // by a statement of the pool, which the transaction borrows
)

// A Statement is one statement of a program.
type Statement struct {
	Kind   Kind
	Lo, Hi int
	Column Column
	Pick   int // which of the column's values is written
	Delta  int64
	Read   bool // what is written is the number shown last, plus Delta
	Ask    bool // how many rows were affected
	Stop   int  // how many rows are read, the others are left; -1 for all, and the end is seen
	Lock   bool // FOR UPDATE
	How    How
	Mode   pgx.QueryExecMode // of a direct one; 0 for the default
}

var kindNames = [...]string{
	Get: "get", Scan: "scan", Wide: "wide", Count: "count", Divide: "divide", Set: "set", Add: "add", Insert: "insert", Return: "insert returning",
	Quiet: "insert quietly", Upsert: "upsert", Delete: "delete", Texts: "texts", ReadClock: "read clock", tick: "tick", enter: "enter",
}

func (k Kind) String() string { return kindNames[k] }

// rows says whether the application is shown rows.
func (k Kind) rows() bool {
	switch k {
	case Get, Scan, Wide, Count, Divide, Return, Upsert, ReadClock:
		return true
	}
	return false
}

// String is the statement without what only says how it is run.
func (s *Statement) String() string {
	var b strings.Builder
	b.WriteString(s.Kind.String())
	switch s.Kind {
	case ReadClock, tick, enter:
		return b.String()
	case Scan, Wide, Count, Add, Delete:
		fmt.Fprintf(&b, " %d-%d", s.Lo, s.Hi)
	default:
		fmt.Fprintf(&b, " %d", s.Lo)
	}
	switch s.Kind {
	case Get, Scan, Set, Insert, Return, Quiet, Upsert:
		fmt.Fprintf(&b, ".%v", s.Column)
	case Add:
		fmt.Fprintf(&b, " %+d", s.Delta)
	}
	return b.String()
}

// manner is the rest.
func (s *Statement) manner() string {
	var b strings.Builder
	switch {
	case s.Read && s.writes():
		fmt.Fprintf(&b, " the number shown last %+d", s.Delta)
	case s.writes():
		fmt.Fprintf(&b, " %s", show(kinds[s.Column].pool[s.Pick].shown))
	}
	if s.Kind.rows() && s.Stop >= 0 {
		fmt.Fprintf(&b, ", read %d rows", s.Stop)
	}
	if s.Ask {
		b.WriteString(", ask how many")
	}
	if s.Lock {
		b.WriteString(", for update")
	}
	b.WriteString([]string{"", ", prepared", ", prepared by the pool"}[s.How])
	if s.Mode != 0 {
		fmt.Fprintf(&b, ", mode %v", s.Mode)
	}
	return b.String()
}

// writes says whether the statement takes a value.
func (s *Statement) writes() bool {
	switch s.Kind {
	case Set, Insert, Return, Quiet, Upsert:
		return true
	}
	return false
}

// value is what the statement writes, if the number shown last is number.
func (s *Statement) value(number any) value {
	if !s.Read {
		return kinds[s.Column].pool[s.Pick]
	}
	n, _ := number.(int64)
	return same(n + s.Delta)
}

const (
	wideRows = 40
	wideText = 500
)

// sql is the text of the statement and its arguments.
func (s *Statement) sql(v value) (text string, args []any) {
	col, typ := kinds[s.Column].name, kinds[s.Column].sqlType
	switch s.Kind {
	case Get:
		text = "SELECT k, i, " + col + " FROM kv WHERE k = $1"
		if s.Lock {
			text += " FOR UPDATE"
		}
		return text, []any{s.Lo}
	case Scan:
		return "SELECT k, i, " + col + " FROM kv WHERE k >= $1 AND k < $2 ORDER BY k", []any{s.Lo, s.Hi}
	case Wide:
		return fmt.Sprintf("SELECT k, i, g, repeat('x', %d) FROM kv, generate_series(1, %d) AS g WHERE k >= $1 AND k < $2 ORDER BY k, g", wideText, wideRows),
			[]any{s.Lo, s.Hi}
	case Count:
		return "SELECT count(*), max(i), count(i) FROM kv WHERE k >= $1 AND k < $2", []any{s.Lo, s.Hi}
	case Divide:
		return "SELECT k, 100 % i FROM kv WHERE k = $1", []any{s.Lo}
	case Set:
		return "UPDATE kv SET " + col + " = $2::" + typ + " WHERE k = $1", []any{s.Lo, v.arg}
	case Add:
		return "UPDATE kv SET i = i + $3::INT8 WHERE k >= $1 AND k < $2", []any{s.Lo, s.Hi, s.Delta}
	case Insert, Return, Quiet, Upsert:
		text = "INSERT INTO kv (k, " + col + ") VALUES ($1::INT8, $2::" + typ + ")"
		return text + map[Kind]string{
			Return: " RETURNING k, i", Quiet: " ON CONFLICT (k) DO NOTHING",
			Upsert: " ON CONFLICT (k) DO UPDATE SET " + col + " = excluded." + col + " RETURNING k, i",
		}[s.Kind], []any{s.Lo, v.arg}
	case Delete:
		return "DELETE FROM kv WHERE k >= $1 AND k < $2", []any{s.Lo, s.Hi}
	case Texts:
		return fmt.Sprintf("UPDATE kv SET i = i + 1 WHERE k = %d; UPDATE kv SET o = false WHERE k < %d", s.Lo, s.Hi), nil
	case ReadClock:
		return "SELECT 'clock', n FROM clock", nil
	case tick:
		return "UPDATE clock SET n = n + 1", nil
	}
	return "INSERT INTO commits SELECT n, $1::INT8, $2::INT8 FROM clock", nil // its arguments are the program's to know
}

// alone makes a text, of a statement that runs outside of a transaction, one that counts the clock up and notes the commit too.
func alone(text string, args []any, program int64) (string, []any) {
	text = fmt.Sprintf("WITH ticked AS (UPDATE clock SET n = n + 1 RETURNING n), "+
		"entered AS (INSERT INTO commits SELECT n, $%d::INT8, 1 FROM ticked) ", len(args)+1) + text
	return text, append(args, program)
}

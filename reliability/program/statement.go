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
	Survey                // reads many long rows, and the clock with each

	Look // looks at a result that was left open

	Create   // makes the table that comes and goes
	Drop     // drops it
	GetExtra // reads a key of it
	PutExtra // writes one

	GetTyped // reads a key of the table whose types change
	PutTyped // writes a digit string into the column that is a number or a text
	Feel     // writes a label into the column that is an enum
	Retype   // changes the type of the one
	Remake   // makes the enum anew

	Bear  // inserts one row for each key of the range, whose own key the database makes, and returns them
	Meet  // reads a row by the key that was shown last, or one of those
	Rear  // adds to its number
	Leave // deletes the rows whose unique value is in the range

	Assign  // SET, SET LOCAL, or RESET
	Config  // set_config
	Show    // SHOW
	Setting // reads the setting by current_setting
	Stamp   // writes the setting to a key
	GetSpot // reads a key of the table that is there in two schemas
	PutSpot // writes one
	Hurry   // sets a timeout, for the transaction

	Copy // writes rows by COPY, which only the pgx connection can do

	Bump        // adds to a key by a function, in a text that looks like a read
	Declare     // makes a cursor, which reads or bumps
	Fetch       // reads the next rows of a cursor
	Move        // goes past them
	CloseCursor // closes a cursor

	Peek  // reads a row by a text of one shape or another
	Raise // adds to its number

	tick  // counts the clock up
	enter // notes the commit
	kindCount
)

// A spec is what there is to know of a kind.
type spec struct {
	name  string
	about func(*Statement) string // for people: what it is about
	sql   func(*Statement, value) (text string, args []any)

	// What the model does; v is the value as it is shown. A query has columns, another statement has none.
	columns func(*Statement) []string
	query   func(m *model, s *Statement, v any) ([][]any, error)
	exec    func(m *model, s *Statement, v any) (affected int64, err error)

	takes bool // a value of the column
	met   bool // it is about a key that was shown
	reads bool // and writes nothing
	whole bool // its result is of one read: it makes no sense to stop before the end
}

// specs are those of all kinds.
var specs = merge(
	kvSpecs, hiddenSpecs, slotSpecs, extraSpecs, bornSpecs, typedSpecs, sessionSpecs, rawSpecs, cursorSpecs, lockSpecs,
)

func merge(all ...map[Kind]spec) (merged [kindCount]spec) {
	for _, some := range all {
		for k, s := range some {
			merged[k] = s
		}
	}
	return merged
}

func (k Kind) String() string { return specs[k].name }

// rows reports whether the application is shown rows.
func (k Kind) rows() bool { return specs[k].query != nil }

// How a statement is run.
type How int

// The ways to run a statement.
const (
	Direct   How = iota // by the transaction
	Prepared            // by a statement that the transaction has prepared; the same text shares one
	Shared              // by a statement of the pool, which the transaction borrows
	Raw                 // on the pgx connection behind the driver's
)

// A Statement is one statement of a program.
type Statement struct {
	Kind   Kind
	Lo, Hi int
	Column Column
	Pick   int // which of the column's values is written
	Delta  int64
	Read   bool   // what is written is the number shown last, plus Delta
	Word   string // what is set, or to what a type is changed
	Path   bool   // of a setting: it is the search path
	Scope  Scope
	Ask    bool // how many rows were affected
	Stop   int  // how many rows are read, the others are left; -1 for all, and the end is seen
	Deaf   bool // the error of closing them is not looked at
	Lock   bool // FOR UPDATE
	Shape  int  // of a Peek or a Raise: which of the shapes
	Adds   bool // of a cursor: its rows are bumped as they are fetched
	How    How
	Mode   pgx.QueryExecMode // of a direct one; 0 for the default

	Only  bool // is prepared and not run
	Slot  int  // under which its result is left open, to be looked at later; 0 for one that is read at once
	Row   bool // it is left open as a *sql.Row
	Names bool // the names of its columns are looked at first
	Keep  bool // of a look: what is not read stays open
}

// String is the statement without what only says how it is run.
func (s *Statement) String() string {
	about := specs[s.Kind].about
	if about == nil {
		return s.Kind.String()
	}
	return s.Kind.String() + " " + about(s)
}

func aboutKey(s *Statement) string    { return fmt.Sprint(s.Lo) }
func aboutRange(s *Statement) string  { return fmt.Sprintf("%d-%d", s.Lo, s.Hi) }
func aboutColumn(s *Statement) string { return fmt.Sprintf("%d.%v", s.Lo, s.Column) }
func aboutWord(s *Statement) string   { return s.Word }

// manner is the rest.
func (s *Statement) manner() string {
	var b strings.Builder
	switch {
	case s.Read && s.writes():
		fmt.Fprintf(&b, " the number shown last %+d", s.Delta)
	case s.writes():
		fmt.Fprintf(&b, " %s", show(kinds[s.Column].pool[s.Pick].shown))
	}
	for _, m := range []struct {
		is   bool
		text string
	}{
		{s.shows() && s.Slot == 0 && s.Stop >= 0, fmt.Sprintf("read %d rows", s.Stop)},
		{s.Deaf, "deaf to the close"},
		{s.Ask, "ask how many"},
		{s.Lock, "for update"},
		{s.How == Prepared && !s.Only, "prepared"},
		{s.How == Shared, "prepared by the pool"},
		{s.How == Raw, onPgx},
		{s.Mode != 0, fmt.Sprintf("mode %v", s.Mode)},
		{s.Only, "only prepared"},
		{s.Slot != 0 && s.Kind != Look, fmt.Sprintf("left open as %d", s.Slot)},
		{s.Row, "a single row"},
		{s.Names, "names first"},
		{s.Keep, "keep it open"},
	} {
		if m.is {
			b.WriteString(", " + m.text)
		}
	}
	return b.String()
}

// shows reports whether rows are read.
func (s *Statement) shows() bool { return s.Kind.rows() || s.Kind == Look }

// writes reports whether the statement takes a value.
func (s *Statement) writes() bool { return specs[s.Kind].takes }

// value is what the statement writes, if the number shown last is number.
func (s *Statement) value(number any) value {
	switch {
	case !s.writes():
		return value{}
	case !s.Read:
		return kinds[s.Column].pool[s.Pick]
	}
	n, _ := number.(int64)
	return same(n + s.Delta)
}

// sql is the text of the statement and its arguments.
func (s *Statement) sql(v value) (text string, args []any) { return specs[s.Kind].sql(s, v) }

// readsOnly reports whether a statement writes nothing.
func readsOnly(k Kind) bool { return specs[k].reads }

var hiddenSpecs = map[Kind]spec{
	tick: {name: "tick", sql: plain("UPDATE clock SET n = n + 1"), exec: nothing},
	enter: {
		name: "enter", exec: nothing,
		sql: plain("INSERT INTO commits SELECT n, $1::INT8, $2::INT8, $3::INT8 FROM clock"), // the runner has its arguments
	},
}

// plain is a text without arguments.
func plain(text string) func(*Statement, value) (string, []any) {
	return func(*Statement, value) (string, []any) { return text, nil }
}

func nothing(*model, *Statement, any) (int64, error) { return 0, nil }

// alone makes a text, of a statement that is a transaction of its own, one that counts the clock up and notes the
// commit too.
func (s *Statement) alone(text string, args []any, e entry) (string, []any) {
	if s.Kind == Bump {
		return bumpAlone(args, e)
	}
	n := len(args)
	param := func(i int) string { return fmt.Sprintf("$%d::INT8", n+i) }
	return entering(param(1), param(2), param(3)) + text, append(args, e.program, e.call, e.part)
}

// entering is what a statement begins with that also counts the clock up and notes the commit.
func entering(program, call, part any) string {
	return fmt.Sprintf("WITH ticked AS (UPDATE clock SET n = n + 1 RETURNING n), "+
		"entered AS (INSERT INTO commits SELECT n, %v, %v, %v FROM ticked) ", program, call, part)
}

// tickAndEnter is the text that does both.
func tickAndEnter(program, call, part any) string {
	return fmt.Sprintf("UPDATE clock SET n = n + 1; INSERT INTO commits SELECT n, %v, %v, %v FROM clock; ",
		program, call, part)
}

// adds is the text of an addition to one key.
func adds(key, delta any) string {
	return fmt.Sprintf("UPDATE kv SET i = i + %v WHERE k = %v", delta, key)
}

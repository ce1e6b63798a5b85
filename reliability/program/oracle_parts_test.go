package program

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// aRoundOfParts is programs that commit before their end, leave results open, and have settings.
func aRoundOfParts() *Round {
	set := func(key int) Statement { return step(Statement{Kind: Set, Lo: key, Column: Bool, Pick: 2}).Statement }
	add := Statement{Kind: Add, Lo: 0, Hi: 1, Delta: 1}
	left := step(Statement{Kind: Get, Lo: 1, Column: Bool})
	left.Slot, left.Names = 1, true
	return &Round{Server: NewerCockroachDB, Size: Size{Keys: 4}, Workers: [][]*Program{{
		{ID: 1, Steps: []Step{{Statement: set(0)}}, Tail: &Tail{By: CommitText, Steps: []Statement{set(2)}}},
		{ID: 2, Form: Closure, Tail: &Tail{By: SchemaChange}},
		{ID: 3, Steps: []Step{{Statement: set(0)}}, Tail: &Tail{By: HalfwayText, Pair: [2]Statement{add, add}}},
		{ID: 4, Own: true, Steps: []Step{
			left, step(Statement{Kind: Copy, Delta: 2, How: Raw}), step(Statement{Kind: PutExtra, Lo: 1, Delta: 5}),
			step(Statement{Kind: Look, Slot: 1}),
		}},
		{ID: 5, Settings: Inside, Steps: []Step{
			step(Statement{Kind: Stamp, Lo: 2}), step(Statement{Kind: Assign, Path: true, Word: paths[1]}),
			step(Statement{Kind: PutSpot, Lo: 1, Delta: 7}), step(Statement{Kind: PutTyped, Lo: 1, Word: numerals[1]}),
		}},
		{ID: 6, Form: Halved, Halves: &Halves{By: Procedure, Pair: [2]Statement{add, add}}},
		{ID: 7, Form: Halved, Halves: &Halves{By: MakeTable, Pair: [2]Statement{add, add}}},
		{ID: 8, Own: true, Forgo: true, Steps: []Step{step(Statement{Kind: Copy, Delta: 1, How: Raw})}},
	}}}
}

// honestParts is honest for that round, in which the last program rolls back.
func honestParts(r *Round) *History {
	last := r.Workers[0][7]
	last.Forgo = false
	list := r.Workers[0]
	r.Workers[0] = list[:7]
	h := honest(r)
	r.Workers[0], last.Forgo = list, true
	h.Results[8] = Result{Err: errForgone, Conn: 7, Began: time.Unix(1, 0), Ended: time.Unix(3, 0)}
	return h
}

func TestHonestParts(t *testing.T) {
	t.Parallel()
	r := aRoundOfParts()
	h := honestParts(r)
	require.Empty(t, Check(r, h))
	assert.Equal(t, []string{"get 1.o: left open", "copy 2 rows", "put extra 1 = 5", "look at 1: [k i o] end"},
		h.lines(4), "nothing was read before the others had run")
	assert.Equal(t, "(2)", h.Tables["copied 4"])
	assert.Equal(t, "(7)", h.Tables["there.spot 1"])
}

// tell changes what a program was told.
func (h *History) tell(program int64, err error) {
	res := h.Results[program]
	res.Err = err
	h.Results[program] = res
}

// liesOfParts are histories that must not be, each with what the oracle has to call it.
var liesOfParts = map[string]struct {
	lie   func(*Round, *History)
	kind  string
	words string // in the anomaly
}{
	"a part is committed twice": {func(_ *Round, h *History) {
		h.Commits, h.Clock = append(h.Commits, Commit{h.Clock + 1, 1, 1, 2}), h.Clock+1
	}, Twice, "part 2 of program 1 was told that it is committed, and is in the table of commits 2 times"},
	"a part is not there": {func(_ *Round, h *History) { h.Commits = h.Commits[1:] }, Lost, "part 1 of program 1"},
	"a conflict is told after a commit": {func(_ *Round, h *History) {
		h.tell(1, &pgconn.PgError{Code: "40001"})
	}, Rerun, "program 1 is committed, or a part of it, and was told *pgconn.PgError"},
	"a lost connection is told after a commit": {func(_ *Round, h *History) {
		h.tell(3, &cockroachdb.ConnectionLostError{})
	}, Rerun, "program 3 is committed, or a part of it"},
	"it is committed and rolled back": {func(r *Round, _ *History) {
		r.Workers[0][0].Tail.Back = true
	}, Phantom, "program 1 is committed, and Rollback returned nil"},
	"its table is there twice": {func(_ *Round, h *History) {
		h.Made = append(h.Made, "made_2_2")
	}, Twice, "program 2 was told that it is committed of its table, and there are 2"},
	"its table is not there": {func(_ *Round, h *History) { h.Made = h.Made[1:] }, Lost, "and there are 0"},
	"its table is there all the same": {func(_ *Round, h *History) {
		h.Results[2] = Result{Err: &pgconn.PgError{Code: "42P07"}}
	}, Phantom, "program 2 was told that it is not committed of its table, and there are 1"},
	"a half is committed, and told to have lost": {func(_ *Round, h *History) {
		h.tell(6, &pgconn.PgError{Code: "40001"})
	}, Rerun, "program 6 is committed, or a part of it"},
	"a half is not there": {func(_ *Round, h *History) {
		h.Commits = slices.DeleteFunc(h.Commits, func(c Commit) bool { return c.Program == 6 && c.Part == 2 })
	}, Lost, "part 2 of program 6 was told that it is committed"},
	"a text's table is there all the same": {func(_ *Round, h *History) {
		h.Results[7] = Result{Err: &pgconn.PgError{Code: "40001"}}
	}, Phantom, "program 7 was told that it is not committed of its table, and there are 1"},
	"RunTx complains of a schema change": {func(_ *Round, h *History) {
		h.tell(2, errors.New("cockroachdb: the function given to RunTx ended the transaction itself"))
	}, Misleading, "the schema change is done, and RunTx says"},
	"a schema change that lost is called ambiguous": {func(_ *Round, h *History) {
		h.Made = nil
		ambiguous := &cockroachdb.AmbiguousCommitError{}
		h.Results[2] = Result{Err: fmt.Errorf("it %s: %w", conflictAfterCommit, ambiguous)}
	}, Misleading, "there was nothing that it could have committed"},
	"a timeout is called a divergence": {func(_ *Round, h *History) {
		h.tell(8, fmt.Errorf("it answered SQLSTATE 55P03: %w", &cockroachdb.DivergenceError{}))
	}, Misleading, "a divergence is made of the server's 55P03"},
	"a divergence is of nothing": {func(r *Round, h *History) {
		r.Server = PostgreSQL
		h.tell(8, &cockroachdb.DivergenceError{})
	}, Reasonless, "no errors.As finds why it was replayed"},
	"a timeout is not to be found": {func(_ *Round, h *History) {
		h.tell(8, fmt.Errorf("SQLSTATE 57014: %w", pgx.ErrTxCommitRollback))
	}, Reasonless, "no errors.As finds the 57014"},
	"the server has said why it goes": {func(_ *Round, h *History) {
		h.tell(8, &cockroachdb.ConnectionLostError{})
		h.Farewells = map[uint64]Farewell{7: {"25P03", time.Unix(2, 0)}}
	}, Reasonless, "the server ended the connection with 25P03"},
	"a cancellation is called a lost connection": {func(_ *Round, h *History) {
		h.tell(8, fmt.Errorf("%w: %w", &cockroachdb.ConnectionLostError{}, context.Canceled))
	}, Misleading, "it was cancelled, and told that its connection was lost"},
	"a savepoint is gone": {func(_ *Round, h *History) {
		h.tell(8, &pgconn.PgError{Code: "3B001"})
	}, Misleading, "it goes back to savepoints of its own alone"},
	"a conflict is not retried": {func(_ *Round, h *History) {
		h.tell(8, &pgconn.PgError{Code: "40001"})
	}, Unretried, "the driver retries, and the application was told"},
	"what has lost is called ambiguous": {func(_ *Round, h *History) {
		conflict := &pgconn.PgError{Severity: "ERROR", Code: "40001"}
		h.tell(8, fmt.Errorf("%w: %w", &cockroachdb.AmbiguousCommitError{}, conflict))
	}, Misleading, "it has lost, and so it is not committed"},
	"nobody asks for a commit that has a marker": {func(r *Round, h *History) {
		r.Marked = true
		h.tell(5, &cockroachdb.AmbiguousCommitError{})
	}, Misleading, "nobody has asked what became of it"},
	"a lost connection is not replaced": {func(r *Round, h *History) {
		r.Server = Cluster
		h.tell(8, &cockroachdb.ConnectionLostError{})
	}, Stranded, "there were nodes to go on with"},
	"no connection is to be had": {func(r *Round, h *History) {
		r.Server, h.Began = Cluster, h.Results[8].Began
		h.tell(8, &pgconn.ConnectError{})
	}, Stranded, "there were nodes to go on with"},
	"a connection does not recover": {func(_ *Round, h *History) { h.Stuck = []string{"try 2"} }, Stuck, "try 2"},
	"a hook is told too little":     {func(_ *Round, h *History) { h.Told = []string{"nothing"} }, Reasonless, "nothing"},
	"rows were copied by nobody": {func(_ *Round, h *History) {
		h.Tables["copied 6"] = "(1)"
	}, Tables, "copied 6\n  there: (1)\n  model: nothing"},
	"an old end is shown": {func(_ *Round, h *History) {
		shown := h.lines(4)
		shown[3] = strings.Replace(shown[3], "] end", "] (1, 1, NULL) end", 1)
	}, Shown, "model: look at 1: [k i o] end"},
	"a result that was empty": {func(_ *Round, h *History) {
		shown := h.lines(4)
		shown[1] = "copy 2 rows: there are rows still open"
	}, Shown, "program 4"},
	"a setting comes too early": {func(_ *Round, h *History) {
		h.Tables["here.spot 1"] = h.Tables["there.spot 1"]
		delete(h.Tables, "there.spot 1")
	}, Tables, "here.spot 1"},
	"a table is gone": {func(_ *Round, h *History) { delete(h.Tables, extraThere) }, Tables, "extra\n  there: nothing"},
}

func TestLiesOfParts(t *testing.T) {
	t.Parallel()
	for name, l := range liesOfParts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := aRoundOfParts()
			h := honestParts(r)
			l.lie(r, h)
			var all []string
			for _, a := range Check(r, h) {
				all = append(all, a.String())
				if a.Kind == l.kind && strings.Contains(a.String(), l.words) {
					return
				}
			}
			assert.Fail(t, "not found", "%s %q in %q", l.kind, l.words, all)
		})
	}
}

// TestBelieves has errors that the model can't foresee, and would not believe in another place.
func TestBelieves(t *testing.T) {
	t.Parallel()
	p := &Program{ID: 1, Careless: true, Steps: []Step{
		step(Statement{Kind: Set, Lo: 0, Column: Bool}),
		{Block: &Block{Name: "s", Steps: []Step{step(Statement{Kind: Delete, Lo: 0, Hi: 4})}}},
	}}
	told := []string{"set 0.o = NULL" + cancelledText, "delete 0-4: error 55P03"}
	m := newModel(PostgreSQL, 4)
	shown, err := m.play(p, 1, told)
	require.NoError(t, err)
	assert.Equal(t, told, shown)
	assert.Equal(t, newModel(PostgreSQL, 4).tables(), m.tables(), "nothing of it has happened")

	shown, _ = m.play(p, 1, []string{"set 0.o = NULL: error 23505"})
	assert.Equal(t, []string{"set 0.o = NULL", "delete 0-4"}, shown)
}

// TestBelieves_CancelledAsItsRowsWereRead has a write that was run when the context of its step ended.
func TestBelieves_CancelledAsItsRowsWereRead(t *testing.T) {
	t.Parallel()
	p := &Program{ID: 1, Careless: true, Steps: []Step{step(Statement{Kind: Return, Lo: 4, Column: Bool})}}
	m := newModel(PostgreSQL, 4)
	for _, told := range []string{
		"insert returning 4.o = NULL" + cancelledText,
		"insert returning 4.o = NULL" + ranText + cancelledText,
		"insert returning 4.o = NULL: error 23505",
	} {
		shown, err := m.play(p, 1, []string{told})
		require.NoError(t, err)
		assert.Equal(t, []string{told}, shown, "the second has written the row, and the first has not")
	}
}

// TestBelieves_RowsClosedByAContext has rows that were left open, and closed as the context of their step ended.
func TestBelieves_RowsClosedByAContext(t *testing.T) {
	t.Parallel()
	left := step(Statement{Kind: Upsert, Lo: 1, Column: Bool})
	left.Slot = 1
	p := &Program{ID: 1, Own: true, Steps: []Step{left, step(Statement{Kind: Set, Lo: 0, Column: Bool})}}
	play := func(told []string) []string {
		shown, err := newModel(PostgreSQL, 4).play(p, 1, told)
		require.NoError(t, err)
		return shown
	}
	open := play(nil)
	require.Contains(t, strings.Join(open, "; "), "there are rows still open")
	closed := slices.DeleteFunc(slices.Clone(open), func(line string) bool { return strings.Contains(line, "still open") })
	assert.Equal(t, open, play(closed))
	p.Cancel = &Cancel{Step: 1}
	assert.Equal(t, closed, play(closed))
	assert.Equal(t, open, play(open))
}

// TestBeforeTheError has what the model is to believe of a program of which nobody knows whether it is committed.
func TestBeforeTheError(t *testing.T) {
	t.Parallel()
	tail := &Tail{By: CommitText}
	cut := []string{"set 0.o = NULL", "get 1.o: error 40003"}
	ended := []string{"set 0.o = NULL", "COMMIT as text: error 40003"}
	for name, c := range map[string]struct {
		of    Program
		shown []string
		want  []string
	}{
		"the last step left it open":            {Program{}, cut, cut[:1]},
		"the commit left it open":               {Program{}, cut[:1], cut[:1]},
		"it went on after the error":            {Program{Careless: true}, cut, cut},
		"it went on, and its text left it open": {Program{Careless: true, Tail: tail}, ended, ended[:1]},
		"it went on, and has a text to come":    {Program{Careless: true, Tail: tail}, cut, cut},
		"a statement alone":                     {Program{Form: Single}, cut, nil},
	} {
		assert.Equal(t, c.want, c.of.beforeTheError(c.shown, 1), name)
	}
}

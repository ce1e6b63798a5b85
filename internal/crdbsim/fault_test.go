package crdbsim

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// eachProtocol runs a test in both protocols; exec runs statements in one exchange.
func eachProtocol(t *testing.T, test func(t *testing.T, exec func(c *client, sqls ...string) []string)) {
	t.Run("simple", func(t *testing.T) {
		t.Parallel()
		test(t, func(c *client, sqls ...string) []string {
			all := ""
			for _, s := range sqls {
				all += s + ";"
			}
			return c.query(all)
		})
	})
	t.Run("extended", func(t *testing.T) {
		t.Parallel()
		test(t, (*client).pipeline)
	})
}

const (
	open    = "SAVEPOINT cockroach_restart"
	back    = "ROLLBACK TO SAVEPOINT cockroach_restart"
	release = "RELEASE SAVEPOINT cockroach_restart"
	update  = "UPDATE kv SET v = v + 1 WHERE k = 1"
	read    = "SELECT v FROM kv WHERE k = 1"
)

func fails(code string) Action {
	return Action{Then: Fail, Error: Error{Code: code, Message: "injected"}}
}

func TestFaultAtEveryStatement(t *testing.T) {
	t.Parallel()
	// A fault at a statement, what the client sees of it, and what ROLLBACK TO makes of it.
	for _, test := range []struct {
		name, pattern, code string
		want, back          []string
		committed           int // v of the first row in the end
	}{
		{"begin", "^begin", "40001", []string{"E 40001", "Z I"}, []string{"E 3B001", "Z I"}, 10},
		{"savepoint", "^savepoint", "40001", []string{"C BEGIN", "E 40001", "Z E"}, []string{"E 3B001", "Z E"}, 10},
		{
			"statement", "^update", "40001",
			[]string{"C BEGIN", "C SAVEPOINT", "E 40001", "Z E"},
			[]string{"C ROLLBACK", "Z T"},
			10,
		},
		{
			"statement 23505", "^update", "23505",
			[]string{"C BEGIN", "C SAVEPOINT", "E 23505", "Z E"},
			[]string{"C ROLLBACK", "Z T"},
			10,
		},
		{
			"release", "^release", "40001",
			[]string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "E 40001", "Z E"},
			[]string{"C ROLLBACK", "Z T"},
			10,
		},
		{
			"release 40003", "^release", "40003",
			[]string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "E 40003", "Z E"},
			[]string{"E 3B001", "Z E"},
			10,
		},
		{
			"commit", "^commit", "40001",
			[]string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "C COMMIT", "E 40001", "Z I"},
			[]string{"E 3B001", "Z I"},
			11,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
				w := newTestbed(t, Config{})
				c := w.client(t)
				f := On(test.pattern, fails(test.code))
				w.Inject(f)
				assert.Equal(t, test.want, exec(c, "BEGIN", open, update, release, "COMMIT"))
				assert.Equal(t, 1, f.Hits())
				assert.Equal(t, test.back, exec(c, back))
				if test.back[0] == "C ROLLBACK" {
					assert.Equal(t, []string{"D 10", "C SELECT 1", "Z T"}, exec(c, read))
				}
				assert.Equal(t, test.committed, w.value(t, 1))
			})
		})
	}
}

func TestFaultLeavesTheTransactionFailed(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		c := w.client(t)
		exec(c, "BEGIN", open, update, "SAVEPOINT app")
		w.Inject(On("^select", fails("40001")))
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(c, read))
		assert.Equal(t, []string{"E 25P02", "Z E"}, exec(c, read))
		assert.Equal(t, []string{"E 25P02", "Z E"}, exec(c, release))
		assert.Equal(t, []string{"E 25P02", "Z E"}, exec(c, "SAVEPOINT more"))
		assert.Equal(t, []string{"D Aborted", "C SHOW TRANSACTION STATUS 1", "Z E"}, exec(c, "SHOW TRANSACTION STATUS"))
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(c, "ROLLBACK TO app"))
		assert.Equal(t, []string{"E 3B001", "Z E"}, exec(c, "ROLLBACK TO other"))
		assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(c, "COMMIT"))
		assert.Equal(t, 10, w.value(t, 1))
	})
}

func TestFaultAfterExecution(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		c := w.client(t)
		failsAfter := func(code string, rows int) Action {
			return Action{Then: ExecuteFail, AfterRows: rows, Error: Error{Code: code}}
		}
		exec(c, "BEGIN", open)
		w.Inject(On("^select", failsAfter("40001", 2)))
		assert.Equal(t, []string{"D 1", "D 2", "E 40001", "Z E"}, exec(c, "SELECT k FROM kv ORDER BY k"))
		assert.Equal(t, []string{"C ROLLBACK", "D 1", "D 2", "D 3", "C SELECT 3", "Z T"},
			exec(c, back, "SELECT k FROM kv ORDER BY k"))
		w.Inject(On("^release", failsAfter("40003", 0)))
		assert.Equal(t, []string{"C UPDATE 1", "E 40003", "Z E"}, exec(c, update, release, "COMMIT"))
		assert.Equal(t, 11, w.value(t, 1), "it was committed all the same")
		assert.Equal(t, []string{"E 3B001", "Z E"}, exec(c, back))
		assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(c, "ROLLBACK"))
		w.Inject(On("^commit", failsAfter("40003", 0)))
		assert.Equal(t, []string{"C BEGIN", "C UPDATE 1", "E 40003", "Z I"}, exec(c, "BEGIN", update, "COMMIT"))
		assert.Equal(t, 12, w.value(t, 1))
		w.Inject(On("^update", failsAfter("57014", 0)))
		assert.Equal(t, []string{"E 57014", "Z I"}, exec(c, update))
		assert.Equal(t, 13, w.value(t, 1))
	})
}

// A node that ends cancels what runs, and says then why.
func TestFaultEnds(t *testing.T) {
	t.Parallel()
	canceled := Error{Code: "57014"}
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		w.Inject(On("^update", Action{Then: Fail, Error: canceled, Ends: true}))
		assert.Equal(t, []string{"E 57014", "E 57P01", "EOF"}, exec(w.client(t), update))
		assert.Equal(t, 10, w.value(t, 1))
		w.Inject(On("^update", Action{Then: ExecuteFail, Error: canceled, Ends: true}))
		assert.Equal(t, []string{"E 57014", "E 57P01", "EOF"}, exec(w.client(t), update))
		assert.Equal(t, 11, w.value(t, 1))
		w.Inject(On("^update", Action{Ends: true}))
		c := w.client(t)
		assert.Equal(t, []string{"C UPDATE 1", "Z I"}, exec(c, update))
		assert.Equal(t, []string{"E 57P01", "EOF"}, c.untilReady())
		assert.Equal(t, 12, w.value(t, 1))
	})
	w := newTestbed(t, Config{})
	f := On("^update", Action{Then: Fail, Error: canceled, Ends: true})
	f.At = AtParse
	w.Inject(f)
	assert.Equal(t, []string{"E 57014", "E 57P01", "EOF"}, w.client(t).pipeline(update))
}

func TestFaultCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		then Then
		sqls []string
		at   string
		want []string
		v    int
	}{
		{"before a statement", Cut, []string{"BEGIN", open, update}, "^update", []string{"EOF"}, 10},
		{"after a statement", ExecuteCut, []string{"BEGIN", open, update}, "^update", []string{"EOF"}, 10},
		{"before release", Cut, []string{"BEGIN", open, update, release, "COMMIT"}, "^release", []string{"EOF"}, 10},
		{"after release", ExecuteCut, []string{"BEGIN", open, update, release, "COMMIT"}, "^release", []string{"EOF"}, 11},
		{"after commit", ExecuteCut, []string{"BEGIN", update, "COMMIT"}, "^commit", []string{"EOF"}, 11},
		{"outside a transaction, before", Cut, []string{update}, "^update", []string{"EOF"}, 10},
		{"outside a transaction, after", ExecuteCut, []string{update}, "^update", []string{"EOF"}, 11},
		{"half an answer", ExecuteHalf, []string{read}, "^select", []string{"D 10", "EOF"}, 10},
		{
			"half an answer of a release", ExecuteHalf,
			[]string{"BEGIN", open, update, release, "COMMIT"},
			"^release",
			[]string{"C BEGIN", "C SAVEPOINT", "C UPDATE 1", "EOF"},
			11,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
				w := newTestbed(t, Config{})
				w.Inject(On(test.at, Action{Then: test.then}))
				assert.Equal(t, test.want, exec(w.client(t), test.sqls...))
				assert.Equal(t, test.v, w.value(t, 1), "PostgreSQL was done when the client noticed")
			})
		})
	}
}

func TestFaultSeverity(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		c := w.client(t)
		w.Inject(On("^select", Action{Then: Fail, Error: Error{Code: "57P01"}}))
		assert.Equal(t, []string{"E 57P01", "Z I"}, exec(c, read))
		assert.Equal(t, []string{"D 10", "C SELECT 1", "Z I"}, exec(c, read))
		w.Inject(On("^select", Action{Then: Fail, Error: Error{Code: "57P01", Severity: "FATAL"}}))
		assert.Equal(t, []string{"C BEGIN", "C UPDATE 1", "E 57P01", "EOF"}, exec(c, "BEGIN", update, read, "COMMIT"))
		assert.Equal(t, 10, w.value(t, 1))
	})
}

func TestFaultCalls(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{})
		a, b := w.client(t), w.client(t)
		exec(a, "BEGIN", open, read)
		w.Inject(On("k = 2$", Action{Call: func() { exec(b, update) }}))
		// b commits at the very moment at which a is about to touch its second row: no conflict
		assert.Equal(t, []string{"C UPDATE 1", "Z T"}, exec(a, "UPDATE kv SET v = 21 WHERE k = 2"))
		w.Inject(On("^update", Action{Call: func() { exec(b, update) }}))
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(a, "UPDATE kv SET v = 0 WHERE k = 1"))
		assert.Equal(t, 12, w.value(t, 1))
		assert.Equal(t, []string{"C ROLLBACK", "D 12", "C SELECT 1", "Z T"}, exec(a, back, read))
		seen := 0
		w.Inject(On("^release", Action{CallReply: func() { seen = w.value(t, 1) }}))
		assert.Equal(t, []string{"C UPDATE 1", "C COMMIT", "C COMMIT", "Z I"}, exec(a, update, release, "COMMIT"))
		assert.Equal(t, 13, seen, "it was called when the commit was done")
	})
}

// TestFaultDelays looks only at how long things take at least, and that the end of the sim is the end of every delay.
func TestFaultDelays(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	const delay = 10 * time.Millisecond
	w.Inject(On("^select", Action{Delay: delay, DelayReply: delay}))
	start := time.Now()
	assert.Equal(t, []string{"D 10", "C SELECT 1", "Z I"}, c.query(read))
	assert.GreaterOrEqual(t, time.Since(start), 2*delay)
	reached := make(chan struct{})
	w.Inject(On("^select", Action{Call: func() { close(reached) }, DelayReply: time.Hour}))
	c.send(&pgproto3.Query{String: read})
	<-reached
	require.NoError(t, w.Close())
}

func TestFaultWhere(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	a, b := w.client(t), w.client(t)
	good, bad := []string{"D 10", "C SELECT 1", "Z I"}, []string{"E 40001", "Z I"}
	run := func(f *Fault, want string) {
		t.Helper()
		defer w.ClearFaults()
		w.Inject(f)
		for i, x := range want {
			c := a
			if i%2 == 1 {
				c = b
			}
			expected := good
			if x == 'x' {
				expected = bad
			}
			require.Equal(t, expected, c.query(read), "%d", i)
		}
	}
	number := w.ConnOf(b.key.ProcessID)
	require.NotZero(t, number)
	require.Zero(t, w.ConnOf(0))
	run(&Fault{Action: fails("40001")}, "x...")
	run(&Fault{Action: fails("40001"), Times: 2}, "xx..")
	run(&Fault{Action: fails("40001"), Skip: 3, Times: -1}, "...xxxx")
	run(&Fault{Action: fails("40001"), Conn: number}, ".x..")
	run(&Fault{Action: fails("40001"), SQL: func(string) bool { return false }}, "....")
	run(&Fault{Times: -1, Do: func(p Point) Action {
		assert.Equal(t, byte('I'), p.Status)
		assert.Equal(t, read, p.SQL)
		if p.Match == 2 {
			return fails("40001")
		}
		return Action{}
	}}, "..x.")
	half := func() *Fault {
		return &Fault{Action: fails("40001"), Times: -1, Chance: 0.5, Rand: rand.New(rand.NewPCG(1, 2))}
	}
	draws, expected := rand.New(rand.NewPCG(1, 2)), ""
	for range 20 {
		if draws.Float64() < 0.5 {
			expected += "x"
		} else {
			expected += "."
		}
	}
	run(half(), expected)
	run(half(), expected)
}

func TestFaultAtParseAndBind(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	c := w.client(t)
	for _, stage := range []Stage{AtParse, AtBind} {
		f := On("^update", fails("40001"))
		f.At = stage
		w.Inject(f)
		assert.Equal(t, []string{"C BEGIN", "C SAVEPOINT", "E 40001", "Z E"}, c.pipeline("BEGIN", open, update, read))
		assert.Equal(t, []string{"C ROLLBACK", "C UPDATE 1", "C ROLLBACK", "Z I"}, c.pipeline(back, update, "ROLLBACK"))
		cut := On("^update", Action{Then: Cut})
		cut.At = stage
		w.Inject(cut)
		assert.Equal(t, []string{"EOF"}, c.pipeline(update))
		c = w.client(t)
	}
}

func TestFaultAtConnect(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{})
	w.Inject(&Fault{At: AtConnect, Action: fails("57P01")})
	_, err := pgxConnect(t, w)
	require.ErrorContains(t, err, "57P01")
	w.Inject(&Fault{At: AtConnect, Action: Action{Then: Cut}})
	_, err = pgxConnect(t, w)
	require.Error(t, err)
	_, err = pgxConnect(t, w)
	require.NoError(t, err)
}

func TestConflictReasons(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{
		"RETRY_SERIALIZABLE", "ABORT_REASON_ABORTED_RECORD_FOUND", "WriteTooOldError", "ReadWithinUncertaintyInterval",
	} {
		e := Conflict(reason)
		assert.Equal(t, "40001", e.Code)
		assert.Contains(t, e.Message, reason)
		assert.Regexp(t, "^restart transaction: TransactionRetryWithProtoRefreshError: ", e.Message)
		assert.Contains(t, e.Hint, "https://")
	}
	assert.Equal(t, "40001", translate(&pgproto3.ErrorResponse{Code: "40P01"}).Code)
	assert.Equal(t, "23505", translate(&pgproto3.ErrorResponse{Code: "23505"}).Code)
}

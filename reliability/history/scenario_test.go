package history_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/reliability/history"
)

// TestScenario runs, one after the other, what the random runs meet by chance: a transaction that loses, or of whose
// commit the answer is lost, at a place where a driver that is careless in one certain way would do wrong. The
// checkers look at what came of it. The tests of package mutants plant that carelessness, and expect these to fail
// each time.
func TestScenario(t *testing.T) {
	t.Parallel()
	for server, cfg := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			for name, run := range listScenarios {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r := newFaultRig(t, cfg)
					l, err := history.NewLists(t.Context(), r.db, 1)
					require.NoError(t, err)
					run(r, within(t), l)
					r.judge(l)
				})
			}
			for name, s := range registerScenarios {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r := newFaultRig(t, cfg)
					reg, err := history.NewRegisters(t.Context(), r.db, s.of, 1)
					require.NoError(t, err)
					s.run(r, within(t), reg)
					r.judge(reg)
				})
			}
			t.Run("two doctors go", func(t *testing.T) { t.Parallel(); twoDoctorsGo(newFaultRig(t, cfg)) })
			t.Run("two transfers", func(t *testing.T) { t.Parallel(); twoTransfers(newFaultRig(t, cfg)) })
		})
	}
}

// newFaultRig is newRig for what needs faults.
func newFaultRig(t *testing.T, cfg crdbsim.Config) *rig {
	t.Helper()
	r := newRig(t, cfg)
	if r.sim == nil {
		t.Skip("injects faults, which needs crdbsim")
	}
	return r
}

// inject is for a fault that has to strike.
func (r *rig) inject(f *crdbsim.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, f)
	r.sim.Inject(f)
}

// lose has the next commit lose, and something happen before the first statement of the attempt after it: the locks of
// the one that lost are gone then, and the new attempt has seen nothing yet.
func (r *rig) lose(meanwhile func()) {
	r.loseAnd(crdbsim.Action{Call: meanwhile})
}

// loseAnd has the next commit lose, and then strikes at the first statement of the attempt after it.
func (r *rig) loseAnd(then crdbsim.Action) {
	strike := func() { r.inject(crdbsim.On("^(select|update)", then)) }
	r.inject(crdbsim.On(r.commit, crdbsim.Action{Then: crdbsim.Fail, Error: r.lost, Call: strike}))
}

// loseAnswer has the next commit be carried out and not be answered, or not to the point.
func (r *rig) loseAnswer(then crdbsim.Then) {
	r.inject(crdbsim.On(r.commit, crdbsim.Action{Then: then, Error: crdbsim.Error{Code: "40003", Message: "injected"}}))
}

// other is what another client does meanwhile. It meets no fault, and so has to succeed.
func (r *rig) other(ctx context.Context, l *history.Lists, body func(*history.ListTx) error) func() {
	return func() { assert.NoError(r, l.Do(ctx, history.Plain, body)) }
}

// judge looks at what came of a scenario, if all in it has happened.
func (r *rig) judge(w workload) {
	r.Helper()
	r.mu.Lock()
	for _, f := range r.faults {
		assert.Equal(r, 1, f.Hits(), "this fault did not strike: %v", f.Pattern)
	}
	r.mu.Unlock()
	r.sim.ClearFaults()
	found, err := w.Check(within(r.T))
	r.none(found, err)
}

// all runs steps up to the first error.
func all(steps ...error) error {
	for _, err := range steps {
		if err != nil {
			return err
		}
	}
	return nil
}

// Of what a transaction comes to that was disturbed, only the checkers judge: its error is not looked at.
var listScenarios = map[string]func(r *rig, ctx context.Context, l *history.Lists){
	"the commit loses": func(r *rig, ctx context.Context, l *history.Lists) {
		r.lose(nil)
		err := l.Do(ctx, history.Plain, func(t *history.ListTx) error {
			return all(t.Append(0), t.Append(1), t.Append(0), t.Append(2))
		})
		assert.NoError(r, err)
	},
	"the commit is answered by an error": func(r *rig, ctx context.Context, l *history.Lists) {
		r.loseAnswer(crdbsim.ExecuteFail)
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.Append(0), t.Append(1)) })
	},
	"the commit is not answered": func(r *rig, ctx context.Context, l *history.Lists) {
		r.loseAnswer(crdbsim.ExecuteCut)
		_ = l.Do(ctx, history.Closure, func(t *history.ListTx) error { return all(t.Append(0), t.Append(1)) })
	},
	"two have read the same": func(r *rig, ctx context.Context, l *history.Lists) {
		r.other(ctx, l, func(t *history.ListTx) error { return all(t.Append(0), t.Append(1)) })()
		r.lose(r.other(ctx, l, func(t *history.ListTx) error { return all(t.Read(0), t.Append(0)) }))
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.Read(0), t.Append(0)) })
	},
	"each has read what the other writes": func(r *rig, ctx context.Context, l *history.Lists) {
		r.other(ctx, l, func(t *history.ListTx) error { return all(t.Append(0), t.Append(1)) })()
		r.lose(r.other(ctx, l, func(t *history.ListTx) error { return all(t.Read(1), t.Append(0)) }))
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.Read(0), t.Append(1)) })
	},
	"two have seen nothing there": func(r *rig, ctx context.Context, l *history.Lists) {
		r.lose(r.other(ctx, l, func(t *history.ListTx) error { return all(t.Read(0), t.Append(0)) }))
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.ReadRange(0, 1), t.Append(0)) })
	},
	"an error has told that nothing is there": func(r *rig, ctx context.Context, l *history.Lists) {
		r.lose(r.other(ctx, l, func(t *history.ListTx) error { return t.Append(0) }))
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.ReadEmpty(0), t.Append(0)) })
	},
	"lost in the middle of the rows": func(r *rig, ctx context.Context, l *history.Lists) {
		appendBoth := func(t *history.ListTx) error { return all(t.Append(0), t.Append(1)) }
		r.other(ctx, l, appendBoth)()
		r.inject(crdbsim.On("between", crdbsim.Action{
			Then: crdbsim.ExecuteFail, AfterRows: 1, Error: r.lost,
			CallReply: r.other(ctx, l, func(t *history.ListTx) error { return all(t.Read(0), t.Append(0)) }),
		}))
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.ReadRange(0, 1), t.Append(0)) })
	},
	"lost again in the replay": func(r *rig, ctx context.Context, l *history.Lists) {
		meanwhile := r.other(ctx, l, func(t *history.ListTx) error { return t.Append(0) })
		r.loseAnd(crdbsim.Action{Then: crdbsim.Fail, Error: r.lost, Call: meanwhile})
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.Read(0), t.Append(0)) })
	},
	"read in a savepoint that is rolled back": func(r *rig, ctx context.Context, l *history.Lists) {
		r.lose(r.other(ctx, l, func(t *history.ListTx) error { return all(t.Read(0), t.Append(0)) }))
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error {
			return all(t.Undo(func() error { return t.Read(0) }), t.Append(0))
		})
	},
	"appended around a savepoint that is rolled back": func(r *rig, ctx context.Context, l *history.Lists) {
		r.lose(nil)
		err := l.Do(ctx, history.Plain, func(t *history.ListTx) error {
			return all(t.Append(0), t.Undo(func() error { return t.Append(1) }), t.Append(2))
		})
		assert.NoError(r, err)
	},
	"looked at between two appends": func(r *rig, ctx context.Context, l *history.Lists) {
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error {
			err := t.Append(0)
			r.other(ctx, l, func(t *history.ListTx) error { return t.Read(0) })()
			return all(err, t.Append(0))
		})
	},
	"abandoned": func(r *rig, ctx context.Context, l *history.Lists) {
		for _, way := range []history.Way{history.Plain, history.Closure} {
			err := l.Do(ctx, way, func(t *history.ListTx) error { return all(t.Append(0), t.Append(1), context.Canceled) })
			require.ErrorIs(r, err, context.Canceled)
		}
	},
	"a statement has failed": func(r *rig, ctx context.Context, l *history.Lists) {
		_ = l.Do(ctx, history.Plain, func(t *history.ListTx) error { return all(t.Append(0), t.Fail()) })
	},
	"RunTx calls again, and the commit loses": func(r *rig, ctx context.Context, l *history.Lists) {
		calls := 0
		r.lose(r.other(ctx, l, func(t *history.ListTx) error { return t.Append(0) }))
		err := l.Do(ctx, history.Closure, func(t *history.ListTx) error {
			if calls++; calls == 2 {
				r.lose(nil)
			}
			return all(t.Read(0), t.Append(1))
		})
		require.NoError(r, err)
	},
	"fn starts over, and the commit loses": func(r *rig, ctx context.Context, l *history.Lists) {
		calls := 0
		err := l.Do(ctx, history.Closure, func(t *history.ListTx) error {
			if calls++; calls == 1 {
				return all(t.Append(0), fmt.Errorf("another database says: %w", &pgconn.PgError{Code: "40001"}))
			}
			r.lose(nil)
			return t.Append(1)
		})
		assert.NoError(r, err)
	},
}

var registerScenarios = map[string]struct {
	of  history.RegisterType
	run func(r *rig, ctx context.Context, reg *history.Registers)
}{
	"false becomes NULL":                {history.Truths, changes("false", "NULL", "true")},
	"NULL becomes false":                {history.Truths, changes("NULL", "false", "true")},
	"NULL becomes empty":                {history.Pairs, changes("NULL", "/", "V/V")},
	"a letter moves to the next column": {history.Pairs, changes("aV/b", "a/Vb", "VV/")},
	"the server compares": {history.Numbers, func(r *rig, ctx context.Context, reg *history.Registers) {
		require.NoError(r, reg.Write(ctx, history.Plain, 0, 0, "1"))
		r.lose(func() { assert.NoError(r, reg.CompareAndSet(ctx, history.Plain, 1, 0, "1", "2")) })
		_ = reg.CompareAndSetAtOnce(ctx, history.Plain, 0, 0, "1", "3")
	}},
}

// changes has a register that was read change before it is written.
func changes(from, to, written string) func(*rig, context.Context, *history.Registers) {
	return func(r *rig, ctx context.Context, reg *history.Registers) {
		require.NoError(r, reg.Write(ctx, history.Plain, 0, 0, from))
		r.lose(func() { assert.NoError(r, reg.Write(ctx, history.Plain, 1, 0, to)) })
		_ = reg.CompareAndSet(ctx, history.Plain, 0, 0, from, written)
	}
}

func twoDoctorsGo(r *rig) {
	ctx := within(r.T)
	d, err := history.NewDuty(ctx, r.db)
	require.NoError(r, err)
	require.NoError(r, d.Go(ctx, history.Plain, 2, false))
	r.lose(func() { assert.NoError(r, d.Go(ctx, history.Plain, 1, false)) })
	_ = d.Go(ctx, history.Plain, 0, false)
	r.judge(d)
}

func twoTransfers(r *rig) {
	ctx := within(r.T)
	b, err := history.NewBank(ctx, r.db)
	require.NoError(r, err)
	r.lose(func() { assert.NoError(r, b.Transfer(ctx, history.Plain, 0, 2, 5, true)) })
	_ = b.Transfer(ctx, history.Plain, 0, 1, 7, true)
	r.judge(b)
}

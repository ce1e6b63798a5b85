package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// between is a committed operation that ran from one time to another.
func between(call, ret time.Duration, o history.RegisterOp) history.RegisterOp {
	o.Call, o.Return, o.Outcome = call, ret, history.Committed
	return o
}

func unknown(o history.RegisterOp) history.RegisterOp {
	o.Outcome = history.Unknown
	return o
}

func sees(v string) history.RegisterOp   { return history.RegisterOp{Kind: history.Read, Saw: v} }
func writes(v string) history.RegisterOp { return history.RegisterOp{Kind: history.Write, New: v} }

func sets(old, v string, set bool) history.RegisterOp {
	return history.RegisterOp{Kind: history.CompareAndSet, Old: old, New: v, Set: set}
}

func TestCheckRegisters(t *testing.T) {
	t.Parallel()
	failed := between(0, 1, writes("9"))
	failed.Outcome = history.Failed
	elsewhere := between(2, 3, writes("7"))
	elsewhere.Key = 1
	for name, h := range map[string]struct {
		ops []history.RegisterOp
		bad bool
	}{
		"empty": {},
		"one after the other": {
			ops: []history.RegisterOp{between(0, 1, sees("NULL")), between(2, 3, writes("1")), between(4, 5, sees("1"))},
		},
		"at the same time, either order": {
			ops: []history.RegisterOp{between(0, 9, writes("1")), between(0, 9, writes("2")), between(10, 11, sees("1"))},
		},
		"compared and set": {
			ops: []history.RegisterOp{
				between(0, 1, sets("NULL", "1", true)), between(2, 3, sets("NULL", "2", false)), between(4, 5, sees("1")),
			},
		},
		"a failed one is not seen": {ops: []history.RegisterOp{failed, between(2, 3, sees("NULL"))}},
		"an unknown one happens": {
			ops: []history.RegisterOp{unknown(between(0, 1, writes("1"))), between(2, 3, sees("1"))},
		},
		"an unknown one happens late": {
			ops: []history.RegisterOp{
				unknown(between(0, 1, writes("1"))), between(2, 3, sees("NULL")), between(4, 5, sees("1")),
			},
		},
		"an unknown one does not": {
			ops: []history.RegisterOp{unknown(between(0, 1, sets("NULL", "1", true))), between(2, 3, sees("NULL"))},
		},
		"each key on its own": {ops: []history.RegisterOp{elsewhere, between(4, 5, sees("NULL"))}},
		"an old value is seen": {
			bad: true, ops: []history.RegisterOp{between(0, 1, writes("1")), between(2, 3, sees("NULL"))},
		},
		"a failed one is seen": {bad: true, ops: []history.RegisterOp{failed, between(2, 3, sees("9"))}},
		"set though it was not so": {
			bad: true, ops: []history.RegisterOp{between(0, 1, writes("1")), between(2, 3, sets("NULL", "2", true))},
		},
		"not set though it was so": {bad: true, ops: []history.RegisterOp{between(0, 1, sets("NULL", "2", false))}},
		"two have set the same": {
			bad: true, ops: []history.RegisterOp{between(0, 5, sets("NULL", "1", true)), between(0, 5, sets("NULL", "2", true))},
		},
		"a write is undone": {
			bad: true,
			ops: []history.RegisterOp{between(0, 1, writes("1")), between(2, 3, sees("1")), between(4, 5, sees("NULL"))},
		},
		"an unknown one happens and not": {
			bad: true,
			ops: []history.RegisterOp{
				unknown(between(0, 1, writes("1"))), between(2, 3, sees("1")), between(4, 5, sees("NULL")),
			},
		},
		"nobody wrote it": {bad: true, ops: []history.RegisterOp{between(0, 1, sees("5"))}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want []history.Class
			if h.bad {
				want = []history.Class{history.NotLinearizable}
			}
			assert.Equal(t, want, classes(history.CheckRegisters(h.ops, "NULL")))
		})
	}
}

// TestARegisterIsToldUpToWhereItWentWrong: what comes after it is of no interest.
func TestARegisterIsToldUpToWhereItWentWrong(t *testing.T) {
	t.Parallel()
	found := history.CheckRegisters([]history.RegisterOp{
		between(1, 2, writes("1")), between(3, 9, writes("2")),
		between(4, 5, sees("NULL")), between(6, 7, sees("1")), between(10, 11, sees("2")),
	}, "NULL")
	assert.Equal(t, []history.Anomaly{{
		Class: history.NotLinearizable,
		Detail: "k0, which was NULL at first; the last of these has no place: \n" +
			"  1ns to 2ns, client 0, committed: write k0 1\n" +
			"  4ns to 5ns, client 0, committed: read k0 = NULL\n" +
			"  3ns to 9ns, client 0, unknown: write k0 2",
	}}, found)
}

func TestCheckBank(t *testing.T) {
	t.Parallel()
	opening := history.Snapshot{0: 10, 1: 10}
	move := func(id, amount int, o history.Outcome) history.Transfer {
		return history.Transfer{ID: id, From: 0, To: 1, Amount: amount, Outcome: o}
	}
	for name, c := range map[string]struct {
		history.BankHistory
		want []history.Class
	}{
		"nothing happened": {history.BankHistory{Closing: opening}, nil},
		"a transfer": {history.BankHistory{
			Transfers: []history.Transfer{
				move(1, 3, history.Committed), move(2, 5, history.Failed), move(3, 1, history.Unknown), move(4, 1, history.Unknown),
			},
			Ledger:    []history.Transfer{move(1, 3, ""), move(3, 1, "")},
			Snapshots: []history.Snapshot{{0: 7, 1: 13}},
			Closing:   history.Snapshot{0: 6, 1: 14},
		}, nil},
		"money is made": {
			history.BankHistory{Closing: opening, Snapshots: []history.Snapshot{{0: 10, 1: 11}}},
			[]history.Class{history.MoneyMadeOrLost},
		},
		"money is lost in the end": {
			history.BankHistory{Closing: history.Snapshot{0: 9, 1: 10}},
			[]history.Class{history.MoneyMadeOrLost, history.LostWrite},
		},
		"twice": {history.BankHistory{
			Transfers: []history.Transfer{move(1, 3, history.Committed)},
			Ledger:    []history.Transfer{move(1, 3, ""), move(1, 3, "")}, Closing: history.Snapshot{0: 4, 1: 16},
		}, []history.Class{history.Duplicate}},
		"never": {
			history.BankHistory{Transfers: []history.Transfer{move(1, 3, history.Committed)}, Closing: opening},
			[]history.Class{history.PhantomCommit},
		},
		"failed, and yet": {history.BankHistory{
			Transfers: []history.Transfer{move(1, 3, history.Failed)},
			Ledger:    []history.Transfer{move(1, 3, "")},
			Closing:   history.Snapshot{0: 7, 1: 13},
		}, []history.Class{history.DirtyRead}},
		"in the ledger alone": {history.BankHistory{
			Transfers: []history.Transfer{move(1, 3, history.Committed)},
			Ledger:    []history.Transfer{move(1, 3, "")},
			Closing:   opening,
		}, []history.Class{history.LostWrite}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Opening = opening
			assert.Equal(t, c.want, classes(c.Check()))
		})
	}
}

func TestCheckDuty(t *testing.T) {
	t.Parallel()
	nobody := []history.Class{history.NobodyOnCall}
	assert.Empty(t, history.CheckDuty([]history.DutyTxn{
		{Saw: []int{1}, Outcome: history.Committed}, {Outcome: history.Failed},
	}, []int{1}))
	assert.Equal(t, nobody, classes(history.CheckDuty([]history.DutyTxn{{Outcome: history.Committed}}, []int{1})))
	assert.Equal(t, nobody, classes(history.CheckDuty(nil, nil)))
}

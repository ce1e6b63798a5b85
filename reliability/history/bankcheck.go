package history

import (
	"fmt"
	"maps"
	"slices"
)

// A Transfer is a transaction of a bank, as its client saw it.
type Transfer struct {
	ID, From, To, Amount int
	Outcome              Outcome
}

// A Snapshot is what a transaction that committed was shown of all accounts.
type Snapshot map[int]int

// BankHistory is what clients know of a bank, and what is in its books in the end.
type BankHistory struct {
	Opening   Snapshot
	Transfers []Transfer
	Snapshots []Snapshot
	Ledger    []Transfer // one entry for each transfer that happened
	Closing   Snapshot
}

// Check says what is wrong with the history of a bank.
func (h *BankHistory) Check() []Anomaly {
	var found anomalies
	for _, s := range append(slices.Clone(h.Snapshots), h.Closing) {
		if s.total() != h.Opening.total() {
			found.add(MoneyMadeOrLost, "%d at first, and then %d: %v", h.Opening.total(), s.total(), s)
		}
	}
	entries := map[int]int{}
	for _, e := range h.Ledger {
		entries[e.ID]++
	}
	for _, t := range h.Transfers {
		switch n := entries[t.ID]; {
		case n > 1:
			found.add(Duplicate, "there are %d entries for %v", n, t)
		case n == 0 && t.Outcome == Committed:
			found.add(PhantomCommit, "there is no entry for %v", t)
		case n > 0 && t.Outcome == Failed:
			found.add(DirtyRead, "there is an entry for %v", t)
		}
	}
	if want := h.booked(); !maps.Equal(want, h.Closing) {
		found.add(LostWrite, "by the ledger the accounts are %v, and not %v", want, h.Closing)
	}
	return found.few()
}

// booked is what the accounts should be by the ledger.
func (h *BankHistory) booked() Snapshot {
	s := maps.Clone(h.Opening)
	for _, e := range h.Ledger {
		s[e.From] -= e.Amount
		s[e.To] += e.Amount
	}
	return s
}

func (s Snapshot) total() (sum int) {
	for _, balance := range s {
		sum += balance
	}
	return sum
}

func (t Transfer) String() string {
	return fmt.Sprintf("transfer %d, %s: %d from %d to %d", t.ID, t.Outcome, t.Amount, t.From, t.To)
}

package main

import "fmt"

// failures returns how many errors were seen that are not ambiguous commits.
func (r *result) failures() (n int) {
	_, n, _ = r.tally.now()
	return n
}

// broken says what has not held. Of pgx nothing is promised, but that what it says is true is expected: otherwise it is
// this command that is wrong, or the server. The exception is that pgx 5.12.0 does writes outside a transaction twice.
func (r *result) broken(o options) (broken []string) {
	add := func(isBroken bool, format string, args ...any) {
		if isBroken {
			broken = append(broken, r.driver+": "+fmt.Sprintf(format, args...))
		}
	}
	a, ours := r.account, r.driver == "cockroachdb"
	add(a.lost > 0, "%d transfers were lost", a.lost)
	add(a.doubled > 0 && (ours || !o.singles), "%d transfers were done more than once", a.doubled)
	add(a.risen > 0, "%d transfers were done that were told to have failed", a.risen)
	add(a.unbooked > 0, "%d balances are not what the journal makes them", a.unbooked)
	add(len(r.anomalies) > 0, "the lists have %d anomalies", len(r.anomalies))
	add(len(r.tally.commits) == 0, "nothing was committed")
	if !ours {
		return broken
	}
	add(r.failures() > 0, "%d errors were seen", r.failures())
	add(r.tally.ambiguous > 0 && (o.once || o.mode == modeDrain), "%d commits were ambiguous", r.tally.ambiguous)
	if o.mode == modeDrain {
		add(!r.spread.even(r.nodes), "the connections are not spread evenly: %v", r.spread)
	}
	return broken
}

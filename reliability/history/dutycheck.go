package history

// A DutyTxn is a transaction of a doctor, as its client saw it.
type DutyTxn struct {
	Doctor  int
	Saw     []int // those on call, when it looked
	Outcome Outcome
}

// CheckDuty says when nobody was on call. final are those on call in the end.
func CheckDuty(txns []DutyTxn, final []int) []Anomaly {
	var found anomalies
	for _, t := range txns {
		if t.Outcome == Committed && len(t.Saw) == 0 {
			found.add(NobodyOnCall, "as doctor %d saw", t.Doctor)
		}
	}
	if len(final) == 0 {
		found.add(NobodyOnCall, "in the end")
	}
	return found.few()
}

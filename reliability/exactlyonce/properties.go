package exactlyonce

// A Property holds in every state that can be reached, or the protocol is wrong. Its text says what holds.
type Property string

// The properties.
const (
	AtMostOnce          Property = "the effect of a transaction is there at most once"
	NilIsCommitted      Property = "if the application was told committed, the effect is there"
	NoIsFinal           Property = "if the application was told not committed, the effect never is there"
	AnswerIsTrue        Property = "what an asker was told of a commit stays true"
	NoContradiction     Property = "two askers are never told the opposite of each other"
	UnaskedIsNotRefused Property = "a commit is refused only if somebody has asked about it"
	OneMarkerEach       Property = "beside the commits whose answer was lost, each client has at most one marker"
	NothingWaits        Property = "nothing waits for what does not come while the server can be reached"
)

// property is one, with what is checked.
type property struct {
	name Property
	// holds is asked about every state.
	holds func(m *model, s *state) bool
	// atRest reports whether it is asked only about states in which no step is possible but faults.
	atRest bool
}

var properties = []property{
	{name: AtMostOnce, holds: atMostOnce},
	{name: NilIsCommitted, holds: nilIsCommitted},
	{name: NoIsFinal, holds: noIsFinal},
	{name: AnswerIsTrue, holds: answerIsTrue},
	{name: NoContradiction, holds: noContradiction},
	{name: UnaskedIsNotRefused, holds: unaskedIsNotRefused},
	{name: OneMarkerEach, holds: oneMarkerEach},
	{name: NothingWaits, holds: nothingWaits, atRest: true},
}

// Properties returns all that are checked.
func Properties() []Property {
	names := make([]Property, 0, len(properties))
	for _, p := range properties {
		names = append(names, p.name)
	}
	return names
}

// effects counts how often a transaction was committed.
func (s *state) effects(transaction int) (n int) {
	for _, c := range s.commits {
		if c.effect && int(c.transaction) == transaction {
			n++
		}
	}
	return n
}

func atMostOnce(_ *model, s *state) bool {
	for t := range s.told {
		if s.effects(t) > 1 {
			return false
		}
	}
	return true
}

func nilIsCommitted(_ *model, s *state) bool {
	for t, told := range s.told {
		if (told == isCommitted || told == foundCommitted) && s.effects(t) == 0 {
			return false
		}
	}
	return true
}

func noIsFinal(_ *model, s *state) bool {
	for t, told := range s.told {
		if (told == notCommitted || told == foundRefused) && s.effects(t) != 0 {
			return false
		}
	}
	return true
}

func answerIsTrue(_ *model, s *state) bool {
	for _, c := range s.commits {
		if c.gave(committed) && !c.effect || c.gave(refused) && c.effect {
			return false
		}
	}
	return true
}

func noContradiction(_ *model, s *state) bool {
	for _, c := range s.commits {
		if c.gave(committed) && c.gave(refused) {
			return false
		}
	}
	return true
}

// unaskedIsNotRefused: else a replay would be refused again and again. Nobody asks before the answer is lost.
func unaskedIsNotRefused(_ *model, s *state) bool {
	for _, c := range s.commits {
		if c.answer == refused {
			return false
		}
	}
	return true
}

// oneMarkerEach: so that the table stays small. The markers of commits whose answer was lost stay until they expire.
func oneMarkerEach(m *model, s *state) bool {
	for client := 1; client <= len(m.bounds.Transactions); client++ {
		first := int(m.first(uint8(client)))
		markers := 0
		for _, c := range s.commits {
			own := first <= int(c.transaction) && int(c.transaction) < first+m.bounds.Transactions[client-1]
			if own && c.confirmed() && s.rows[c.key] == committedRow {
				markers++
			}
		}
		if markers > 1 {
			return false
		}
	}
	return true
}

// nothingWaits: where no step is left but faults, all is settled. Each of the other steps brings the end nearer. So the
// protocol always comes to its end after the last fault.
func nothingWaits(_ *model, s *state) bool {
	return s.clientsAreDone() && !s.anyOpen()
}

package exactlyonce

import "strings"

// A rule is one kind of step. It is tried for each client, or for each commit, or once.
type rule struct {
	// words say for a trace what happens.
	words string
	// of is what the rule is tried for.
	of actor
	// faultless reports whether the step happens sooner or later if nothing else does. Faults, the passing of time and
	// somebody's wish to ask may never come.
	faultless bool
	// take changes the state and reports whether the step is possible. If it is not, the changes are ignored.
	take func(*step) bool
}

// A step is one that is being tried.
type step struct {
	*model
	*state         // to be changed
	number uint8   // of the client or the commit
	client *client // that takes it, nil if no client does
	commit *commit // the client's last one, or the one of that number
}

// An actor is what a rule is tried for.
type actor uint8

const (
	aClient actor = iota
	aCommit
	once
)

// rules are all kinds of steps. Their order decides between traces of the same length.
var rules = []rule{
	{"{client} connects, learns the epoch and runs the statements of {transaction}", aClient, true, (*step).connect},
	{"{client} sends {commit} of {transaction}", aClient, true, (*step).sendCommit},
	{"{client} may send no more, and tells the application: not committed", aClient, true, (*step).runOut},
	{"{client} gets the answer to {commit}", aClient, true, (*step).hearCommit},
	{"{client} finds the connection of {commit} closed by the server", aClient, true, (*step).findClosed},
	{"{client} loses the connection on which it has sent {commit}", aClient, false, (*step).loseCommit},
	{"{client} asks about {commit}", aClient, true, (*step).ask},
	{"{client} hears that {commit} is committed, and tells the application", aClient, true, (*step).hearCommitted},
	{"{client} hears that {commit} is refused, and will replay", aClient, true, (*step).hearRefusedAndReplay},
	{"{client} hears that {commit} is refused, and tells the application", aClient, true, (*step).hearRefusedAndTell},
	{"{client} hears that nobody can know, and returns AmbiguousCommitError", aClient, true, (*step).hearUnknown},
	{"{client} loses the connection on which it asks about {commit}", aClient, false, (*step).loseQuestion},
	{"{client} stops asking about {commit}, and returns AmbiguousCommitError", aClient, false, (*step).stopAsking},
	{"{client} crashes", aClient, false, (*step).crashClient},

	{"the server deletes the marker that {commit} names", aCommit, true, (*step).executeDelete},
	{"the server executes the INSERT of {commit}", aCommit, true, (*step).executeInsert},
	{"the server executes the COMMIT of {commit}", aCommit, true, (*step).executeCommit},
	{"the server executes the INSERT of {commit}, after its COMMIT", aCommit, true, (*step).executeMark},
	{"the server rolls {commit} back, for its connection is cut", aCommit, true, (*step).noticeCut},
	{"the server answers {commit} by 40001 and rolls it back", aCommit, false, (*step).failByConflict},
	{"the server crashes, or closes the connection of {commit}", aCommit, false, (*step).crashServer},

	{"the server executes the question of {client} about {commit}", aClient, true, (*step).executeQuestion},
	{"another asker asks about {commit}", aCommit, false, (*step).otherAsks},
	{"the server executes a late question, or another asker's, about {commit}", aCommit, false, (*step).executeOther},
	{"CommitOutcome tells the application that {commit} is committed", aCommit, false, (*step).learnCommitted},
	{"CommitOutcome tells the application that {commit} is refused", aCommit, false, (*step).learnRefused},

	{"the table is truncated", once, false, (*step).truncate},
	{"the table is made anew, with another epoch", once, false, (*step).makeAnew},
	{"half a day passes", once, false, (*step).passHalfDay},
	{"another half a day passes, and the markers are deleted", once, false, (*step).passDay},
}

// numbers returns how many actors of a kind there are.
func (m *model) numbers(of actor) uint8 {
	switch of {
	case aClient:
		return uint8(len(m.bounds.Transactions))
	case aCommit:
		return uint8(m.bounds.Commits)
	}
	return 1
}

// try takes the step of a rule in s, and reports whether it is possible.
func (m *model) try(r *rule, s *state, number uint8) bool {
	x := step{model: m, state: s, number: number}
	switch r.of {
	case aClient:
		x.client = &s.clients[number]
		x.commit = &s.commits[x.client.commit]
	case aCommit:
		x.commit = &s.commits[number]
	}
	return r.take(&x)
}

// say puts the numbers into the words of a rule. They are in the state before the step, or in the one after it.
func (r *rule) say(before, after *state, number uint8) string {
	commit := number
	var client, transaction uint8
	if r.of == aClient {
		client = number
		commit = max(before.clients[client].commit, after.clients[client].commit)
		transaction = before.clients[client].transaction
	}
	return strings.NewReplacer(
		"{client}", numbered("client", client),
		"{commit}", numbered("commit", commit),
		"{transaction}", numbered("transaction", transaction),
	).Replace(r.words)
}

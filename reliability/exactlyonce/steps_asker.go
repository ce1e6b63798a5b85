package exactlyonce

// The question is one autocommitted statement: if the sentinel with the commit's epoch is there, insert the key with
// refused = true; if the key is there already, return its refused. It may be executed twice.

// question executes one about the step's commit. It returns noAnswer while it waits for an open transaction that holds
// the key.
func (x *step) question() answer {
	row := &x.rows[x.commit.key]
	switch {
	case !x.findsSentinel():
		return unknown
	case x.mistake == AsksByReading && *row == noRow:
		return refused
	case x.locked(x.commit.key):
		return noAnswer
	case *row == committedRow, *row == refusedRow && x.mistake == IgnoresRefused:
		return committed
	}
	*row = refusedRow
	return refused
}

// findsSentinel: the epoch is that with which the commit was sent, whatever was learnt since.
func (x *step) findsSentinel() bool {
	switch x.mistake {
	case AsksWithoutSentinel:
		return true
	case AsksByNewEpoch:
		return x.epoch != 0
	}
	return x.epoch == x.commit.epoch
}

// executeQuestion: the client's own, on whose answer it waits.
func (x *step) executeQuestion() bool {
	if x.client.at != asking || x.client.answer != noAnswer {
		return false
	}
	x.client.answer = x.question()
	x.commit.give(x.client.answer)
	return x.client.answer != noAnswer
}

// otherAsks: somebody else may ask about any commit whose answer was lost, at any time and as often as it likes: the
// application by CommitOutcome, another process, a successor of a client that has crashed.
func (x *step) otherAsks() bool {
	if !x.hasAsker() {
		return false
	}
	x.commit.questioned = true
	return true
}

// hasAsker reports whether somebody other than the client may have the key, and ask.
func (x *step) hasAsker() bool {
	return x.commit.cut && x.mayAsk() && (!x.bounds.SecretKeys || x.told[x.commit.transaction] >= ambiguous)
}

// mayAsk: not about a key that is older than half a day, since its row is deleted after a day. An answer that arrives
// later than that is not taken either.
func (x *step) mayAsk() bool { return x.age == fresh || x.mistake == AsksAfterExpiry }

// executeOther: a question of another asker, or one that the client has given up. Somebody may get the answer.
func (x *step) executeOther() bool {
	if !x.commit.questioned {
		return false
	}
	a := x.question()
	if x.hasAsker() {
		x.commit.give(a)
	}
	return a != noAnswer
}

func (x *step) learnCommitted() bool { return x.learn(committed, foundCommitted) }
func (x *step) learnRefused() bool   { return x.learn(refused, foundRefused) }

// learn: the application has the key from AmbiguousCommitError, and gets an answer that was given.
func (x *step) learn(a answer, means told) bool {
	t := &x.told[x.commit.transaction]
	if *t != ambiguous || !x.commit.gave(a) || !x.isLast() || !x.mayAsk() {
		return false
	}
	*t = means
	return true
}

// isLast reports whether the step's commit is the last one of its transaction. AmbiguousCommitError has that one's key.
func (x *step) isLast() bool {
	for _, later := range x.commits[x.number+1:] {
		if later.transaction == x.commit.transaction {
			return false
		}
	}
	return true
}

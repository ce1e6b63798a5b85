package exactlyonce

// The messages of a commit are sent together and executed in order. An error skips those that follow.

// executeDelete: the marker of the transaction before. The row stays locked until the
// transaction ends, so that another DELETE of it waits.
func (x *step) executeDelete() bool {
	if x.commit.at != toDelete || x.locked(x.commit.deletes) {
		return false
	}
	x.commit.at = x.afterDelete()
	return true
}

func (m *model) afterDelete() stage {
	if m.mistake == MarksAfterCommit {
		return toCommit
	}
	return toInsert
}

// executeInsert: the marker. It fails where the sentinel with the commit's epoch is not there, and where the key is. It
// waits while an open transaction holds the key.
func (x *step) executeInsert() bool {
	c := x.commit
	switch {
	case c.at != toInsert:
		return false
	case c.epoch != x.epoch && x.mistake != CommitsWithoutSentinel:
		return x.finish(otherEpoch)
	case x.locked(c.key):
		return false
	case x.rows[c.key] != noRow:
		return x.finish(refused)
	}
	c.at = toCommit
	return true
}

// executeCommit: RELEASE and COMMIT. The effect and the marker are there together. A marker that was inserted before a
// TRUNCATE has gone with the old rows.
func (x *step) executeCommit() bool {
	c := x.commit
	if c.at != toCommit {
		return false
	}
	c.effect = true
	if x.mistake == MarksAfterCommit {
		c.at = toMark
		return true
	}
	if x.epoch == c.epoch {
		x.rows[c.deletes], x.rows[c.key] = noRow, committedRow
	}
	return x.finish(committed)
}

// executeMark is a mistake: the marker comes after the commit, in a transaction of its own.
func (x *step) executeMark() bool {
	if x.commit.at != toMark {
		return false
	}
	if x.rows[x.commit.key] == noRow {
		x.rows[x.commit.key] = committedRow
	}
	return x.finish(committed)
}

// noticeCut: the server finds the connection closed, and rolls back what is open. Until then it may execute what has
// arrived.
func (x *step) noticeCut() bool { return x.commit.cut && x.commit.open() && x.finish(noAnswer) }

// failByConflict: 40001 at any moment before the commit. Nothing is committed.
func (x *step) failByConflict() bool {
	return x.commit.open() && x.commit.at != toMark && x.finish(conflict)
}

// crashServer: the transaction is rolled back, and nothing is answered.
func (x *step) crashServer() bool { return !x.commit.cut && x.commit.open() && x.finish(noAnswer) }

// truncate: all rows are gone, the sentinel too. It happens in one step, at any time, once.
func (x *step) truncate() bool {
	if x.epoch != 1 {
		return false
	}
	clear(x.rows[:])
	x.epoch = 0
	return true
}

// makeAnew: another sentinel, never the same.
func (x *step) makeAnew() bool {
	if x.epoch != 0 {
		return false
	}
	x.epoch = 2
	return true
}

// passHalfDay: from now on nobody asks, and nobody takes an answer. The clients have come to rest, so that no key is
// younger.
func (x *step) passHalfDay() bool {
	if x.age != fresh || !x.clientsAreDone() {
		return false
	}
	x.age = old
	return true
}

// passDay: all markers expire, the sentinel does not. That no commit is on its way any more is an assumption. Questions
// may be.
func (x *step) passDay() bool {
	if x.age != old || x.anyOpen() && x.mistake != ExpiresTooEarly {
		return false
	}
	clear(x.rows[:])
	x.age = expired
	return true
}

// finish ends a transaction. Nobody gets the answer where the connection is cut.
func (x *step) finish(a answer) bool {
	x.commit.at, x.commit.deletes = ended, 0
	if !x.commit.cut {
		x.commit.answer = a
	}
	return true
}

// locked reports whether an open transaction has inserted the key, or deleted its row.
func (x *step) locked(key uint8) bool {
	for n := range x.commits {
		c := &x.commits[n]
		inserted := c.at == toCommit && x.mistake != MarksAfterCommit && c.key == key
		deleted := (c.at == toInsert || c.at == toCommit) && c.deletes == key
		if inserted || deleted {
			return true
		}
	}
	return false
}

func (s *state) clientsAreDone() bool {
	for n := range s.clients {
		if s.clients[n].at != done {
			return false
		}
	}
	return true
}

func (s *state) anyOpen() bool {
	for n := range s.commits {
		if s.commits[n].open() {
			return true
		}
	}
	return false
}

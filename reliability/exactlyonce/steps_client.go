package exactlyonce

// connect: the epoch is learnt before anything is sent. Without a sentinel no transaction is begun: the application
// gets an error, and nothing is committed.
func (x *step) connect() bool {
	if x.client.at != connecting {
		return false
	}
	if x.epoch == 0 {
		return x.tell(notCommitted, connecting)
	}
	x.client.at, x.client.epoch = ready, x.epoch
	return true
}

// sendCommit: each commit has a fresh key. Its message deletes the marker of the client's last confirmed commit, which
// may have been sent on another connection: what counts is that the client has had its answer.
func (x *step) sendCommit() bool {
	n := x.freeCommit(x.state)
	if x.client.at != ready || n == 0 {
		return false
	}
	message := commit{transaction: x.client.transaction, key: n, epoch: x.client.epoch, deletes: x.markerToDelete()}
	message.at = toDelete
	if message.deletes == 0 {
		message.at = x.afterDelete()
	}
	if x.mistake == KeepsKey && x.client.commit != 0 {
		message.key = x.commit.key
	}
	x.commits[n] = message
	x.client.at, x.client.commit = waiting, n
	return true
}

// markerToDelete returns the key of the marker that the client's next commit deletes. Nobody else has ever had this
// key, and the client will not ask about it any more.
func (x *step) markerToDelete() uint8 {
	switch x.mistake {
	case LeavesMarkers:
		return 0
	case DeletesOthers:
		for key, row := range x.rows {
			if row == committedRow {
				return uint8(key)
			}
		}
	}
	return x.client.previous
}

// runOut: the bound on the number of attempts. The one before is known not to be committed.
func (x *step) runOut() bool {
	return x.client.at == ready && x.freeCommit(x.state) == 0 && x.tell(notCommitted, ready)
}

// hearCommit: the answer to the commit itself. After committed the application is told nil. After a conflict the same
// connection goes on, from the savepoint. After otherEpoch the epoch is learnt anew. In both, nothing is committed.
func (x *step) hearCommit() bool {
	a := x.commit.answer
	if x.client.at != waiting || a == noAnswer {
		return false
	}
	x.commit.answer, x.commit.epoch = noAnswer, 0 // nobody is going to ask
	switch a {
	case committed:
		x.client.previous = x.commit.key
		return x.tell(isCommitted, ready)
	case otherEpoch:
		x.client.at, x.client.epoch = connecting, 0
	default:
		x.client.at = ready
	}
	return true
}

// findClosed: the server has closed the connection, and no answer is on its way.
func (x *step) findClosed() bool {
	return x.client.at == waiting && !x.commit.open() && x.commit.answer == noAnswer && x.giveUp()
}

// loseCommit: the connection is cut, or the client gives it up. The message may have arrived, or may arrive later, or
// never: the server may execute all of it, a part, or nothing.
func (x *step) loseCommit() bool { return x.client.at == waiting && x.giveUp() }

// giveUp: the client closes the connection before it asks. A transaction that stayed open on it would hold the key, and
// the question would wait for that.
func (x *step) giveUp() bool {
	x.commit.cut, x.commit.answer = true, noAnswer
	x.client.at = unsure
	if x.mistake == DeletesTooEarly {
		x.client.previous = x.commit.key
	}
	return true
}

// ask: the question goes on another connection. It is asked again, with the same key, as often as it is lost.
func (x *step) ask() bool {
	if x.client.at != unsure {
		return false
	}
	x.client.at = asking
	return true
}

// loseQuestion: the client gives up the connection on which it has asked. The server may have executed the question, or
// execute it later, or never.
func (x *step) loseQuestion() bool {
	if x.client.at != asking {
		return false
	}
	x.abandonQuestion()
	x.client.at = unsure
	if x.mistake == AsksOnce {
		x.client.at = stuck
	}
	return true
}

// hearCommitted: the application is told nil. The marker stays until it expires, since others may have the key. Where
// they can't (Bounds.SecretKeys), it might be deleted.
func (x *step) hearCommitted() bool {
	if x.client.answer != committed {
		return false
	}
	x.client.previous = 0 // what this commit had to delete is deleted
	if x.mistake == DeletesAsked {
		x.client.previous = x.commit.key
	}
	return x.tell(isCommitted, connecting)
}

// hearRefusedAndReplay: this commit can't happen any more. The transaction may be replayed, with another.
func (x *step) hearRefusedAndReplay() bool {
	if x.client.answer != refused {
		return false
	}
	x.client.at, x.client.epoch, x.client.answer = connecting, 0, noAnswer
	return true
}

// hearRefusedAndTell: the transaction is not to be replayed, for example because its context has ended.
func (x *step) hearRefusedAndTell() bool {
	return x.client.answer == refused && x.tell(notCommitted, connecting)
}

// hearUnknown: the table has another epoch, or none. The outcome stays ambiguous.
func (x *step) hearUnknown() bool {
	return x.client.answer == unknown && x.tell(ambiguous, connecting)
}

// stopAsking: a bound is reached. From here on the application has the key of the last commit, and no replay follows.
func (x *step) stopAsking() bool {
	if x.client.at != unsure && x.client.at != asking {
		return false
	}
	x.abandonQuestion()
	return x.tell(ambiguous, connecting)
}

// crashClient: what it has sent may still be executed.
func (x *step) crashClient() bool {
	if x.client.at == done {
		return false
	}
	if x.client.at == waiting {
		x.giveUp()
	}
	x.abandonQuestion()
	*x.client = client{at: done}
	return true
}

// abandonQuestion: if the client's question was not executed yet, it may still be.
func (x *step) abandonQuestion() {
	if x.client.at == asking && x.client.answer == noAnswer {
		x.commit.questioned = true
	}
	x.client.answer = noAnswer
}

// tell ends the client's transaction for the application. The client goes on with the next one, if there is one: at
// ready where it has a connection, else at connecting.
func (x *step) tell(t told, at activity) bool {
	c := x.client
	x.told[c.transaction] = t
	*c = client{transaction: x.after(c.transaction, x.number), at: at, epoch: c.epoch, previous: c.previous}
	if at == connecting {
		c.epoch = 0
	}
	if c.transaction == 0 {
		*c = client{at: done}
	}
	return true
}

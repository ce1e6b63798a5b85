package exactlyonce

// The sizes of the arrays. Number 0 stands for "none" everywhere, and is not used as an index.
const (
	maxClients      = 2
	maxTransactions = 2
	maxCommits      = 3
)

// A state is everything at one moment: the server, the network, the clients and the askers. It has no pointers, so that
// states can be compared and be the keys of a map.
type state struct {
	// rows is the table of markers, by key. It has what is committed.
	rows [1 + maxCommits]row
	// epoch is the random id in the sentinel row: the first, the second, or 0 where there is no such row.
	epoch uint8
	// age is that of the keys. It changes when the clients have come to rest, for all keys at once.
	age age

	commits [1 + maxCommits]commit
	clients [1 + maxClients]client
	// told is what the application knows of each transaction.
	told [1 + maxTransactions]told
}

// A row is what the table of markers has under one key.
type row uint8

const (
	noRow        row = iota
	committedRow     // refused = false, inserted by a commit
	refusedRow       // refused = true, inserted by a question
)

// A commit is one message with which a client asks the server to commit, with the server's transaction that it belongs
// to. A replay sends another commit.
type commit struct {
	// transaction is the application's transaction whose effect it has.
	transaction uint8
	// key is that of its marker.
	key uint8
	// epoch is the sentinel's, as the connection had learnt it before the commit was sent.
	epoch uint8
	// deletes is the key whose marker it deletes, 0 for none.
	deletes uint8
	// at is what the server does next with it. The message may be on its way until then.
	at stage
	// answer is on its way to the client.
	answer answer
	// cut reports whether the client has given up the connection. The answer can't arrive any more.
	cut bool
	// effect reports whether the server has committed it.
	effect bool
	// questioned reports whether questions about it are on their way that are not the client's, or that the client has
	// given up. There may be any number of them, and each may be executed at any time, or never.
	questioned bool
	// given has the answers that were given to questions about it, one bit for each. Each may arrive at any time.
	given uint8
}

// A stage is what the server does next with a commit.
type stage uint8

const (
	unsent   stage = iota
	toDelete       // the marker of the transaction before, where there is one
	toInsert       // the marker
	toCommit       // RELEASE and COMMIT
	toMark         // insert the marker after the commit, which only a mistake does
	ended          // nothing: the transaction has committed, or was rolled back
)

// open reports whether the server's transaction has not ended.
func (c *commit) open() bool { return c.at != unsent && c.at != ended }

// confirmed reports whether the client was told, by the answer to the commit itself, that it is committed.
func (c *commit) confirmed() bool { return c.effect && c.at == ended && !c.cut && c.answer == noAnswer }

// An answer says how a commit ended: the server's to the commit itself, or to a question about it.
type answer uint8

const (
	noAnswer   answer = iota
	committed         // it is committed
	conflict          // it is not: 40001
	refused           // it is not and never will be: the key is there, or is now, with refused = true
	otherEpoch        // it is not: the commit has not found the sentinel that it looked for
	unknown           // the question has not found the sentinel that it looked for
)

// give notes an answer to a question.
func (c *commit) give(a answer) {
	if a == committed || a == refused { // the others say nothing
		c.given |= 1 << a
	}
}

func (c *commit) gave(a answer) bool { return c.given&(1<<a) != 0 }

// A client runs its transactions one after the other, each on the connection of the one before unless that was lost.
type client struct {
	// transaction is the one that it is at, 0 when there is none left.
	transaction uint8
	// at is what it does.
	at activity
	// commit is the last one that it has sent for the transaction.
	commit uint8
	// epoch is what its connection has learnt.
	epoch uint8
	// previous is the key of its last confirmed commit, whose marker its next commit deletes.
	previous uint8
	// answer is that to its question, on its way.
	answer answer
}

// An activity is what a client does.
type activity uint8

const (
	done       activity = iota // with all transactions, or crashed
	connecting                 // it needs a connection for the transaction
	ready                      // the statements have run, and the commit can be sent
	waiting                    // for the answer to the commit
	unsure                     // the answer is lost
	asking                     // it has sent a question about the commit
	stuck                      // it waits for an answer that was lost, which only a mistake does
)

// A told is what the application knows of a transaction.
type told uint8

const (
	nothing        told = iota
	isCommitted         // Commit has returned nil
	notCommitted        // Commit has returned an error that says so
	ambiguous           // Commit has returned AmbiguousCommitError, which has the key of the last commit
	foundCommitted      // AmbiguousCommitError, and then CommitOutcome said that it is committed
	foundRefused        // AmbiguousCommitError, and then CommitOutcome said that it is not
)

// An age is that of the keys.
type age uint8

const (
	fresh   age = iota
	old         // half a day: nobody asks any more
	expired     // a day: the markers are deleted
)

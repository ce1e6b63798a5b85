package exactlyonce

// Bounds are how far the exploration goes. Each fault may happen any number of times, but the table is truncated once.
type Bounds struct {
	// Transactions has the number of transactions of each client: at most two clients, and two transactions in all.
	Transactions []int
	// Commits is how many commits may be sent in all, at most 3.
	Commits int
	// SecretKeys says that nobody but the client has a key before AmbiguousCommitError was returned. Otherwise others
	// may ask as soon as an answer is lost, as if they had the key from elsewhere.
	SecretKeys bool
}

// OneClient has two transactions, one after the other, and can replay.
func OneClient() Bounds { return Bounds{Transactions: []int{2}, Commits: 3} }

// TwoClients have one transaction each.
func TwoClients() Bounds { return Bounds{Transactions: []int{1, 1}, Commits: 2} }

// model is the protocol with one mistake planted, or none.
type model struct {
	bounds  Bounds
	mistake Mistake
}

// begin returns the state before the first step.
func (m *model) begin() state {
	s := state{epoch: 1}
	for n := range m.bounds.Transactions {
		s.clients[n+1] = client{at: connecting, transaction: m.first(uint8(n + 1))}
	}
	return s
}

// first returns the first transaction of a client.
func (m *model) first(client uint8) uint8 {
	t := 1
	for _, n := range m.bounds.Transactions[:client-1] {
		t += n
	}
	return uint8(t)
}

// after returns the transaction after t of a client, 0 if there is none.
func (m *model) after(t, client uint8) uint8 {
	if int(t) < int(m.first(client))+m.bounds.Transactions[client-1]-1 {
		return t + 1
	}
	return 0
}

// freeCommit returns the number of the next commit, 0 if as many were sent as may be.
func (m *model) freeCommit(s *state) uint8 {
	for n := 1; n <= m.bounds.Commits; n++ {
		if s.commits[n].at == unsent {
			return uint8(n)
		}
	}
	return 0
}

package crdbmodel

import "time"

// Each key is led by one node, by the first column of the key. A session is on the node that its number says; see
// [engine.work].
func (e *engine) leader(k key) int { return int(uint64(k[0]) % uint64(e.cfg.Nodes)) }

func (s *session) node() int { return s.id % s.e.cfg.Nodes }

// visit takes the time in which a statement reaches the leaders of what it reads, if that is not the session's own node
// alone [docs: "Life of a Distributed Transaction"].
func (s *session) visit(st *statement, params []int64) {
	if s.e.cfg.Nodes > 1 && s.leadsElsewhere(st, params) {
		sleepUntil(s.id, time.Now().Add(2*s.e.cfg.Hop))
	}
}

func (s *session) leadsElsewhere(st *statement, params []int64) (elsewhere bool) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	defer func() { _ = recover() }() // what is wrong with the statement it is told when it runs
	v := env{columns: s.e.columnsOf(st), params: params}
	for _, name := range st.tables {
		point, isPoint := spanOf(s.e.table(name), st.where, v).point()
		elsewhere = elsewhere || !isPoint || s.e.leader(point.key) != s.node()
	}
	return elsewhere
}

// replicate takes the time of a commit: longer if it writes keys that other nodes lead.
func (s *session) replicate(t *txn) {
	pause := s.e.cfg.Commit
	for _, r := range t.locks {
		if s.e.leader(r.key) != s.node() {
			pause = s.e.cfg.Commit + 2*s.e.cfg.Hop
		}
	}
	s.e.mu.Unlock()
	sleepUntil(s.id, time.Now().Add(pause))
	s.e.mu.Lock()
}

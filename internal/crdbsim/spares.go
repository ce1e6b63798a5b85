package crdbsim

import (
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// mostSpares is how many connections to PostgreSQL a Sim keeps for clients to come.
const mostSpares = 16

// spares are connections to PostgreSQL whose clients have gone, as good as new. Each one that is used again spares PostgreSQL a new
// process, whose start takes longer than all that most tests do with it.
type spares struct {
	mu     sync.Mutex
	kept   []*upstream // the one kept last is the last
	closed bool
}

// put keeps u for a client to come. What can't be kept is closed.
func (s *spares) put(u *upstream) {
	if u.renew() {
		u = s.add(u)
	}
	u.close()
}

// add returns what is to be closed: the oldest if there are too many, or u if it comes too late.
func (s *spares) add(u *upstream) *upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return u
	}
	s.kept = append(s.kept, u)
	if len(s.kept) <= mostSpares {
		return nil
	}
	oldest := s.kept[0]
	s.kept = slices.Delete(s.kept, 0, 1)
	return oldest
}

// take gives the connection kept last of those that were started up in this way; nil if there is none.
func (s *spares) take(startup string) *upstream {
	for {
		u := s.remove(startup)
		if u == nil || u.obeys("") {
			return u
		}
		u.close() // PostgreSQL has ended it meanwhile
	}
}

func (s *spares) remove(startup string) *upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, u := range slices.Backward(s.kept) {
		if u.startup == startup {
			s.kept = slices.Delete(s.kept, i, i+1)
			return u
		}
	}
	return nil
}

// close closes all of them, and those that come later.
func (s *spares) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var closing sync.WaitGroup
	for _, u := range s.kept {
		closing.Go(u.close)
	}
	closing.Wait()
	s.kept = nil
}

// renew ends the transaction, and all else that belongs to a session. It says whether u is as good as new.
func (u *upstream) renew() bool {
	switch {
	case u.greeting == nil, u.secured, u.dirty:
		return false
	case u.status == 'I':
		return u.obeys("DISCARD ALL")
	}
	return u.obeys("ROLLBACK", "DISCARD ALL")
}

// obeys says whether PostgreSQL runs statements of ours one after the other, each a transaction of its own, and without an error.
func (u *upstream) obeys(statements ...string) bool {
	_ = u.nc.SetDeadline(time.Now().Add(dialTimeout))
	for _, sql := range statements {
		if _, failed, err := u.run(sql); failed || err != nil {
			return false
		}
	}
	return u.nc.SetDeadline(time.Time{}) == nil
}

// run has PostgreSQL run a query of ours. It gives the first value of the last row, and says whether the query failed; err is the
// connection's.
func (u *upstream) run(sql string) (value string, failed bool, err error) {
	u.out, err = (&pgproto3.Query{String: sql}).Encode(u.out)
	if err != nil {
		return "", false, err
	}
	if err := u.send(); err != nil {
		return "", false, err
	}
	for {
		f, err := u.in.next()
		if err != nil {
			return "", false, err
		}
		switch f.typ {
		case 'D':
			var row pgproto3.DataRow
			if err := row.Decode(f.body()); err != nil {
				return "", false, err
			}
			value = string(row.Values[0])
		case 'E':
			failed = true
		case 'Z':
			u.status = f.body()[0]
			return value, failed, nil
		}
	}
}

package crdbsim

import (
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// mostSpares is how many connections to PostgreSQL a Sim keeps for clients to come.
const mostSpares = 16

// keepSpares is how long it keeps each of them. PostgreSQL drops a database only if nobody is connected to it, and
// waits five seconds for those who are to leave.
const keepSpares = time.Second

// spares are connections to PostgreSQL whose clients have gone, as good as new. Each one that is used again spares
// PostgreSQL a new process, whose start takes longer than all that most tests do with it.
type spares struct {
	keep time.Duration

	mu      sync.Mutex
	kept    []*upstream // the one kept last is the last
	closed  bool
	closing sync.WaitGroup
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
	u.expiry = time.AfterFunc(s.keep, func() { s.closeAll(func(v *upstream) bool { return v == u }) })
	if len(s.kept) <= mostSpares {
		return nil
	}
	oldest := s.kept[0]
	oldest.expiry.Stop()
	s.kept = slices.Delete(s.kept, 0, 1)
	return oldest
}

// take gives the connection kept last of those that were started up in this way and are still as good as new; nil if
// there is none.
func (s *spares) take(startup string) *upstream {
	for {
		u := s.remove(startup)
		if u == nil || u.unchanged() {
			return u
		}
		u.close()
	}
}

func (s *spares) remove(startup string) *upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, u := range slices.Backward(s.kept) {
		if u.startup == startup {
			s.kept = slices.Delete(s.kept, i, i+1)
			u.expiry.Stop()
			return u
		}
	}
	return nil
}

// leaveDatabase closes those that are connected to a database.
func (s *spares) leaveDatabase(name string) {
	s.closeAll(func(u *upstream) bool { return u.database == name })
}

// closeAll closes those that match, and returns when PostgreSQL has ended their sessions.
func (s *spares) closeAll(matches func(*upstream) bool) {
	var closing sync.WaitGroup
	s.mu.Lock()
	s.kept = slices.DeleteFunc(s.kept, func(u *upstream) bool {
		if !matches(u) {
			return false
		}
		u.expiry.Stop()
		s.closing.Add(1)
		closing.Go(func() {
			defer s.closing.Done()
			u.close()
		})
		return true
	})
	s.mu.Unlock()
	closing.Wait()
}

// close closes all of them, and those that come later.
func (s *spares) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.closeAll(func(*upstream) bool { return true })
	s.closing.Wait()
}

// renew ends the transaction, and all else that belongs to a session. It reports whether u is as good as new.
func (u *upstream) renew() bool {
	switch {
	case u.origin == "", u.secured, u.dirty:
		return false
	case u.status == 'I':
		return u.obeys("DISCARD ALL")
	}
	return u.obeys("ROLLBACK", "DISCARD ALL")
}

// obeys reports whether PostgreSQL runs statements of ours one after the other, each a transaction of its own, and
// without an error.
func (u *upstream) obeys(statements ...string) bool {
	if !u.within(dialTimeout) {
		return false
	}
	for _, sql := range statements {
		if _, failed, err := u.run(sql); failed || err != nil {
			return false
		}
	}
	return u.within(0)
}

// within bounds how long PostgreSQL may take from now on; 0 stands for no bound. It reports whether the connection is
// open.
func (u *upstream) within(d time.Duration) bool {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	return u.nc.SetDeadline(deadline) == nil
}

// run has PostgreSQL run a query of ours. It gives the first value of the last row, and reports whether the query
// failed; err is the connection's.
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

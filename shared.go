package cockroachdb

import (
	"cmp"
	"strings"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// What the server has said of a text on one connection is known to all connections of the connector. One that has not
// seen the text goes by that, and asks again in the same round trip. If the answer is another one, what the statement
// did is undone, and it runs again by the new description. So only what can be undone goes by what others know.

// sharedBytes bounds the memory of what a connector's connections share.
const sharedBytes = 8 << 20

// sessionOf returns what a session is told when it begins, as far as it may decide what a text means.
func sessionOf(s *wire.Session) string {
	cfg := s.Pgx.Config()
	told := []string{cfg.Database, cfg.User}
	for _, name := range []string{"search_path", "role", "options"} {
		told = append(told, cfg.RuntimeParams[name])
	}
	return strings.Join(told, "\x00")
}

// sharedKey is what a text is shared under; ok is false while nobody knows what the session was told.
func (c *conn) sharedKey(t *tx, sql string) (key wire.DescriptionKey, ok bool) {
	if c.journal.pinned || len(t.sets) > 0 {
		return key, false
	}
	told := []string{c.told}
	for _, name := range []string{"search_path", "session_authorization"} {
		told = append(told, c.session.PG.ParameterStatus(name))
	}
	told = append(told, c.journal.sets...)
	return wire.DescriptionKey{SQL: sql, Session: strings.Join(told, "\x00")}, true
}

// share tells the other connections what the server has said of p's text.
func (c *conn) share(t *tx, p *wire.Prepared) {
	if key, ok := c.sharedKey(t, p.Desc.SQL); ok {
		c.pool.descriptions.Put(key, p.Desc)
	}
}

// known returns what this connection, or else another one, knows of a request's text; nil if the server is to be asked
// first. named says what it is for: to be prepared under a name.
func (c *conn) known(t *tx, named bool, r *request) *wire.Prepared {
	cache := c.session.Descriptions
	if named {
		cache = c.session.Statements
	}
	p := cache.Get(r.sql)
	if p == nil {
		p = c.knownElsewhere(t, named, r.sql)
	}
	if p == nil || t.goesBy(p, r) {
		return p
	}
	c.unlearn(p)
	return nil
}

func (c *conn) knownElsewhere(t *tx, named bool, sql string) *wire.Prepared {
	key, ok := c.sharedKey(t, sql)
	if !ok {
		return nil
	}
	desc := c.pool.descriptions.Get(key)
	if desc == nil {
		return nil
	}
	return wire.Unconfirmed(named, sql, c.session.Classify(sql), desc)
}

// goesBy reports whether a request can be sent by what is known of its text.
func (t *tx) goesBy(p *wire.Prepared, r *request) bool {
	return p.Confirmed() || r.prepares || !r.asks && t.canUndo(&p.Class)
}

// canUndo reports whether a statement of this class can be run again as if it had not run: in a transaction that can be
// restarted, or because it only reads.
func (t *tx) canUndo(class *sqltext.Class) bool {
	switch {
	case !t.restartable(), class.Commit != sqltext.NoCommit, class.Watched():
		return false
	case !t.explicit:
		return class.Reads
	}
	return t.phase() != phaseEnded
}

// hasRoomFor reports whether the transaction can still be restarted with s on record, and so many bytes more.
func (t *tx) hasRoomFor(s *wire.Statement, more int) bool {
	return len(t.history.records) < t.policy.MaxStatements &&
		t.history.bytes+recordSize+s.Size()+more <= t.policy.MaxBytes
}

// keepRequest keeps the request of an unconfirmed statement until that is confirmed, and reports whether it does.
func (c *conn) keepRequest(r *request, s *wire.Statement) bool {
	if s.Prepared == nil || s.Prepared.Confirmed() {
		return false
	}
	c.request, c.asking = *r, true
	return true
}

// dropRequest ends what keepRequest began. A statement that has ended is confirmed, or forgotten.
func (c *conn) dropRequest(p *wire.Prepared) {
	if !c.asking {
		return
	}
	c.valuesDone(c.request.args)
	c.request, c.asking = request{}, false
	if p != nil && !p.Confirmed() {
		c.unlearn(p)
	}
}

// isStale reports whether err says that what is known of a statement is out of date.
func isStale(err error) bool { return pgerr.IsStalePlan(err) || wire.IsChanged(err) }

// relearn makes the statement again by what the server says of it now, and reports whether it did. Nothing of the
// answer was shown.
func (cu *cursor) relearn(changed *wire.ChangedError) bool {
	t, c, was := cu.t, cu.t.c, &cu.rec.Statement
	if !c.asking || cu.renewed || !t.canUndo(&was.Class) {
		return false
	}
	p := wire.NewPrepared(was.Form == wire.Named, was.SQL, was.Class, changed.Desc)
	c.share(t, p)
	c.cacheOf(p).Put(p)
	s := p.Statement(was.Form)
	if c.request.unfit = c.bind(t, &c.request, &s); c.request.unfit != nil {
		return false
	}
	t.rerecord(cu.rec, &s)
	cu.renewed = true
	return true
}

// unable returns why a statement could not be made again by what the server says of it now.
func (c *conn) unable(changed error) error {
	return cmp.Or(c.request.unfit, changed)
}

// rerecord puts another statement in the place of one on record.
func (t *tx) rerecord(r *record, s *wire.Statement) {
	more := -r.size()
	r.Statement = *s
	more += r.size()
	t.history.bytes += more
	if t.explicit {
		t.pool.metrics().historyBytes(more)
	}
}

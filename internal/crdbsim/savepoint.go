package crdbsim

import (
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// The restart savepoint is ours alone: PostgreSQL never sees it. Its RELEASE is PostgreSQL's COMMIT, and ROLLBACK
// TO it begins a new transaction there, since only that gets a new snapshot. The application's savepoints are
// PostgreSQL's.

// isRestart reports whether a savepoint of that name is a restart savepoint.
func (c *conn) isRestart(name string) bool {
	return strings.HasPrefix(name, "cockroach_restart") || c.on("force_savepoint_restart")
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func (c *conn) savepoint(name string) (reply, error) {
	ok := reply{tag: "SAVEPOINT"}
	switch {
	case c.status == 'I':
		return c.outside("SAVEPOINT")
	case !c.isRestart(name):
		c.queueHidden("SAVEPOINT " + quote(name))
		c.tx.saved = append(c.tx.saved, savepoint{name, c.tx.touched, len(c.tx.set), maps.Clone(c.tx.local)})
		return ok, nil
	case len(c.tx.saved) > 0, c.tx.restart != "" && c.tx.touched:
		return refuse(errNested(name))
	case c.tx.touched:
		return refuse(errNotFirst(name))
	}
	if c.tx.restart == "" {
		c.tx.atRestart = maps.Clone(c.tx.local)
	}
	c.tx.restart = name // again, perhaps: that does nothing
	return ok, nil
}

func (c *conn) release(name string) (reply, error) {
	if c.status == 'I' {
		return c.outside("RELEASE")
	}
	if i := c.tx.find(name); i >= 0 {
		c.queueHidden("RELEASE SAVEPOINT " + quote(name))
		c.tx.saved = c.tx.saved[:i]
		return reply{tag: "RELEASE"}, nil
	}
	if c.tx.restart != name || name == "" {
		return refuse(errNoSavepoint(name))
	}
	if e, err := c.commitAndWait(); e != nil || err != nil {
		return reply{failed: e}, err
	}
	return reply{tag: "COMMIT"}, nil
}

// commitAndWait commits, and leaves the transaction to be ended by COMMIT or ROLLBACK.
func (c *conn) commitAndWait() (*pgproto3.ErrorResponse, error) {
	e, err := c.commitUpstream()
	if err != nil {
		return nil, err
	}
	if e != nil {
		if e.Code != "40001" { // then there is no going back
			c.tx.restart = ""
		}
		c.tx.saved = nil
		return e, nil
	}
	c.tx.committed = true
	return nil, nil
}

func (c *conn) rollbackTo(name string) (reply, error) {
	i := c.tx.find(name)
	switch {
	case c.status == 'I':
		return refuse(errNoSavepoint(name))
	case c.tx.committed:
		return refuse(errCommitted())
	case i >= 0 && c.tx.conflict && c.tx.saved[i].touched:
		return refuse(errRolledBackRestart())
	case i >= 0 && c.tx.conflict:
		c.restart(i + 1)
	case i >= 0:
		c.queueHidden("ROLLBACK TO SAVEPOINT " + quote(name))
		c.restoreSince(c.tx.saved[i].set)
		c.tx.local = maps.Clone(c.tx.saved[i].local)
		c.tx.saved = c.tx.saved[:i+1]
		c.tx.aborted = false
	case c.tx.restart != name || name == "":
		return refuse(errNoSavepoint(name))
	case c.tx.ddl && c.tx.priority == "high":
		return refuse(failure("0A000",
			"unimplemented: cannot use ROLLBACK TO SAVEPOINT in a HIGH PRIORITY transaction containing DDL"))
	default:
		c.restart(0)
	}
	c.status = 'T'
	return reply{tag: "ROLLBACK"}, nil
}

// restart begins the transaction again, with the first of its application savepoints: those which were made before
// data was touched.
func (c *conn) restart(keep int) {
	if c.tx.open {
		c.queueHidden("ROLLBACK")
	}
	c.restoreAll()
	c.queueHidden(c.tx.begin)
	c.tx.local = maps.Clone(c.tx.atRestart)
	c.tx.saved = c.tx.saved[:keep]
	for i := range c.tx.saved {
		s := &c.tx.saved[i]
		c.queueHidden("SAVEPOINT " + quote(s.name))
		s.set, c.tx.local = 0, maps.Clone(s.local)
	}
	c.tx.open, c.tx.aborted, c.tx.conflict = true, false, false
	c.tx.touched, c.tx.answered, c.tx.ddl = false, false, false
}

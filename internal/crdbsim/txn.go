package crdbsim

import (
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// A session is what CockroachDB would know of a connection.
type session struct {
	status byte // 'I', 'T' or 'E', as the client is told
	tx     txn
	vars   map[string]string // of ownVariables, those that were set
	start  map[string]string // and those that were set at start-up

	commitTime string // of the latest transaction, empty if that has not committed
}

// A txn is the transaction as the client sees it. PostgreSQL's may be another: it ends when a restart begins, it is
// gone between RELEASE and COMMIT, and it may be in order while the client has been told of an error.
type txn struct {
	begin      string      // how to begin it, and begin it again
	open       bool        // PostgreSQL has one open
	aborted    bool        // and that one has failed
	restart    string      // name of the restart savepoint, if there is one
	saved      []savepoint // the application's savepoints, oldest first
	touched    bool        // it has read or written data since it began or restarted
	answered   bool        // the client has seen something since
	ddl        bool        // it has changed the schema
	conflict   bool        // it has failed by a 40001
	committed  bool        // RELEASE or SHOW COMMIT TIMESTAMP has committed it, COMMIT is awaited
	releasable bool        // and that was SHOW COMMIT TIMESTAMP, so RELEASE may come yet
	priority   string
	started    time.Time
	injected   int // retry errors injected because the session asked for them

	set       []string          // what sets again what PostgreSQL would undo with its transaction
	local     map[string]string // of ownVariables, those that were set for the transaction alone
	atRestart map[string]string // what local was when the restart savepoint was made
}

type savepoint struct {
	name    string
	touched bool // data had been touched when it was made
	set     int  // how much had been set then
	local   map[string]string
}

// note keeps account of an ordinary statement.
func (t *txn) note(s *statement) {
	t.answered = true
	t.touched = t.touched || s.touchesData()
	t.ddl = t.ddl || s.isDDL()
}

// find returns the index of the newest application savepoint of that name, -1 if there is none.
func (t *txn) find(name string) int {
	for i, v := range slices.Backward(t.saved) {
		if v.name == name {
			return i
		}
	}
	return -1
}

// A reply is the answer to a statement that this package answers, not PostgreSQL.
type reply struct {
	tag    string
	value  string // of the one row there is, if the statement has a field
	failed *pgproto3.ErrorResponse
}

func refuse(e *pgproto3.ErrorResponse) (reply, error) { return reply{failed: e}, nil }

// control executes a statement about transactions, or about a variable that only CockroachDB has.
func (c *conn) control(s *statement) (reply, error) {
	switch s.kind {
	case kindInvalid:
		return refuse(s.invalid)
	case kindShowStatus:
		return reply{tag: "SHOW TRANSACTION STATUS 1", value: c.statusName()}, nil
	case kindShowCommit:
		return c.showCommit()
	case kindCommit:
		return c.commit()
	case kindRollback:
		return c.rollback()
	case kindRollbackTo:
		return c.rollbackTo(s.name)
	}
	switch {
	case c.releaseAgain(s):
		return reply{tag: "RELEASE"}, nil
	case c.tx.committed:
		return refuse(errCommitted())
	case c.status == 'E':
		return refuse(errAborted())
	}
	return c.controlUnfailed(s)
}

// controlUnfailed executes the statements that a failed transaction refuses.
func (c *conn) controlUnfailed(s *statement) (reply, error) {
	switch s.kind {
	case kindBegin:
		return c.begin(s)
	case kindSavepoint:
		return c.savepoint(s.name)
	case kindRelease:
		return c.release(s.name)
	case kindSetTransaction:
		return c.setTransaction(s.modes)
	}
	if c.status == 'I' { // each of the others is a transaction of its own then
		c.noteCommit()
	}
	switch s.kind {
	case kindSet:
		return c.set(s)
	case kindSetCharacteristics:
		return c.setCharacteristics(s.modes)
	}
	return reply{tag: "SHOW 1", value: c.variable(s.name)}, nil
}

// field describes the one column of the answer; ok is false if there are no rows.
func (s *statement) field() (f pgproto3.FieldDescription, ok bool) {
	f = pgproto3.FieldDescription{DataTypeOID: pgtype.TextOID, DataTypeSize: -1, TypeModifier: -1}
	switch s.kind {
	case kindShowStatus:
		f.Name = []byte("TRANSACTION STATUS")
	case kindShow:
		f.Name = []byte(s.name)
	case kindShowCommit:
		f.Name, f.DataTypeOID = []byte("commit_timestamp"), pgtype.NumericOID
	default:
		return f, false
	}
	return f, true
}

func (c *conn) statusName() string {
	switch {
	case c.status == 'I':
		return "NoTxn"
	case c.tx.committed:
		return "CommitWait"
	case c.status == 'E':
		return "Aborted"
	}
	return "Open"
}

// variable is what SHOW answers.
func (c *conn) variable(name string) string {
	if name == "transaction_priority" && c.status != 'I' && c.tx.priority != "" {
		return c.tx.priority
	}
	if name == "transaction_priority" {
		name = "default_transaction_priority"
	}
	for _, vars := range []map[string]string{c.tx.local, c.vars} {
		if v, ok := vars[name]; ok {
			return v
		}
	}
	return c.initial(name)
}

// initial is what RESET makes of a variable.
func (c *conn) initial(name string) string {
	if v, ok := c.start[name]; ok {
		return v
	}
	if name == autocommitBeforeDDL && c.sim.version.atLeast(25, 1) {
		return "on"
	}
	return ownVariables[name]
}

// on reports whether a variable is switched on.
func (c *conn) on(name string) bool {
	switch strings.ToLower(c.variable(name)) {
	case "on", "true", "t", "1", "yes":
		return true
	}
	return false
}

// beginText begins a transaction as this version has them: serializable, whatever level was asked for.
func beginText(access string) string {
	return strings.TrimRight("BEGIN ISOLATION LEVEL SERIALIZABLE "+access, " ")
}

func (c *conn) begin(s *statement) (reply, error) {
	if c.status != 'I' {
		return refuse(errInTransaction())
	}
	c.tx = txn{begin: beginText(s.modes.access), open: true, priority: s.modes.priority, started: time.Now()}
	c.status, c.commitTime = 'T', ""
	c.queueHidden(c.tx.begin)
	return reply{tag: "BEGIN"}, nil
}

// set sets a variable that only CockroachDB has.
func (c *conn) set(s *statement) (reply, error) {
	value := s.value
	if s.reset {
		value = c.initial(s.name)
	}
	if s.local && c.status == 'T' {
		if c.tx.local == nil {
			c.tx.local = make(map[string]string)
		}
		c.tx.local[s.name] = value
	}
	if !s.local {
		c.vars[s.name] = value
		c.tx.eachLocal(func(vars map[string]string) { delete(vars, s.name) })
	}
	return reply{tag: "SET"}, nil
}

// eachLocal calls f with what was set for the transaction alone, now and at each savepoint.
func (t *txn) eachLocal(f func(map[string]string)) {
	f(t.local)
	f(t.atRestart)
	for _, s := range t.saved {
		f(s.local)
	}
}

// setCharacteristics sets the modes of transactions to come. There is but one isolation level, so that leaves the
// access.
func (c *conn) setCharacteristics(m modes) (reply, error) {
	if m.access != "" {
		sql := "SET SESSION CHARACTERISTICS AS TRANSACTION " + m.access
		c.queueHidden(sql)
		if c.status == 'T' {
			c.tx.set = append(c.tx.set, sql)
		}
	}
	return reply{tag: "SET"}, nil
}

func (c *conn) setTransaction(m modes) (reply, error) {
	if c.status == 'I' {
		return c.outside("SET TRANSACTION")
	}
	if m.priority != "" {
		c.tx.priority = m.priority
	}
	if m.access != "" {
		c.tx.begin = beginText(m.access)
		c.queueHidden("SET TRANSACTION " + m.access)
	}
	return reply{tag: "SET TRANSACTION"}, nil
}

// end forgets the transaction, and has PostgreSQL roll back what it still has of it.
func (c *conn) end() {
	if c.tx.open {
		c.queueHidden("ROLLBACK")
	}
	c.restoreAll()
	c.status, c.tx = 'I', txn{}
}

func (c *conn) rollback() (reply, error) {
	switch {
	case c.status == 'I':
		return c.outside("ROLLBACK")
	case c.tx.committed:
		c.end()
		return reply{tag: "COMMIT"}, nil
	}
	c.end()
	return reply{tag: "ROLLBACK"}, nil
}

func (c *conn) commit() (reply, error) {
	if c.status == 'I' {
		return c.outside("COMMIT")
	}
	if c.status != 'T' || c.tx.committed { // a failed transaction is rolled back, and that is no error
		return c.rollback()
	}
	e, err := c.commitUpstream()
	c.end()
	if err != nil || e != nil {
		return reply{failed: e}, err
	}
	return reply{tag: "COMMIT"}, nil
}

// commitUpstream has PostgreSQL commit. Whatever the answer, its transaction is over.
func (c *conn) commitUpstream() (*pgproto3.ErrorResponse, error) {
	c.queueHidden("COMMIT")
	a, err := c.ask(noLimit)
	c.tx.open, c.tx.aborted = false, false
	if err == nil && a.failed == nil && a.tag == "COMMIT" {
		c.tx.set = nil
		c.noteCommit()
		return nil, nil
	}
	c.restoreAll()
	switch {
	case err != nil:
		return nil, err
	case a.failed != nil:
		return c.worded(a.failed), nil
	}
	return failure("XX000", "PostgreSQL answers COMMIT with "+a.tag), nil
}

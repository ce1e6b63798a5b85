package cockroachdb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// A commit marker is a row that a transaction inserts with its commit, by which its outcome is known where the answer
// was lost. Who asks inserts the same key, marked as refused: if that succeeds the lost commit can never happen, since
// its own insert fails; if the key is there, and not refused, it has happened. Reading would prove nothing: the commit
// may still be on its way.
//
// The row of a confirmed commit is deleted by the next transaction of the connection. Rows whose transaction nobody
// has heard of any more, and those of refused ones, expire.
//
// One row, the epoch, is as old as the table. A question is answered only where the epoch is still there that was
// learnt before the commit, and a marker is inserted only there: after a TRUNCATE a key that is missing proves nothing.

// uid is a UUID in binary.
type uid [16]byte

func newUID() (u uid) {
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}

func (u uid) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// A marker is the marker of one commit. Nobody but the driver may know its key before its outcome is open.
type marker struct {
	table *markTable
	known *known
	key   uid
	at    time.Time // when it was sent
	place []byte    // of the row, on PostgreSQL
}

// markTable is what a pool knows of the table of commit markers.
type markTable struct {
	name  string // quoted
	known atomic.Pointer[known]
}

// known is what was learnt of the table.
type known struct {
	name  string // quoted, with its database and schema: an application may change its search_path
	epoch uid
	file  []byte // which holds the rows, on PostgreSQL; TRUNCATE makes another one
}

func newMarkTable(cfg *Config) *markTable {
	if !cfg.CommitMarker {
		return nil
	}
	return &markTable{name: quoteTable(cfg.CommitTable)}
}

// quoteTable quotes a table's name, which may have a schema.
func quoteTable(name string) string { return pgx.Identifier(strings.Split(name, ".")).Sanitize() }

// insert is the statement that places the marker m. It fails (23502) where the epoch is gone. On PostgreSQL it does not
// look for the epoch's row: in a serializable transaction that would conflict with everybody who inserts a marker.
func (m *marker) insert() wire.Extra {
	s := wire.Statement{Form: wire.Unnamed}
	if m.known.file == nil {
		s.SQL = "INSERT INTO " + m.known.name + " (id, refused) " +
			"VALUES ($1, (SELECT false FROM " + m.known.name + " WHERE id = $2))"
		s.Values, s.ParamFormats = [][]byte{m.key[:], m.known.epoch[:]}, binaryFormat
		s.ParamOIDs = []uint32{pgtype.UUIDOID, pgtype.UUIDOID}
		return wire.Extra{Statement: s}
	}
	s.SQL = "INSERT INTO " + m.known.name + " (id, refused) VALUES ($1, CASE WHEN pg_relation_filenode('" + m.known.name +
		"'::REGCLASS) = $2 THEN false END) RETURNING ctid"
	s.Values, s.ParamFormats = [][]byte{m.key[:], m.known.file}, keyAndText
	s.ParamOIDs = []uint32{pgtype.UUIDOID, pgtype.OIDOID}
	return wire.Extra{Statement: s, Row: func(values [][]byte) { m.place = append([]byte(nil), values[0]...) }}
}

// remove are the statements that delete the marker m, whose transaction is committed. On PostgreSQL they go to the
// row's place, for the reason why insert reads no row; and in a small table only where the planner is kept from reading
// all of it.
func (m *marker) remove() []wire.Extra {
	s := wire.Statement{
		Form: wire.Unnamed, SQL: "DELETE FROM " + m.known.name + " WHERE id = $1", Values: [][]byte{m.key[:]},
		ParamOIDs: []uint32{pgtype.UUIDOID}, ParamFormats: binaryFormat,
	}
	if m.known.file == nil {
		return []wire.Extra{{Statement: s}}
	}
	if m.place != nil {
		s.SQL += " AND ctid = $2"
		s.Values, s.ParamOIDs, s.ParamFormats = append(s.Values, m.place), append(s.ParamOIDs, pgtype.TIDOID), keyAndText
	}
	byPlace := wire.Statement{Form: wire.Unnamed, SQL: "SET LOCAL enable_seqscan = off"}
	return []wire.Extra{{Statement: byPlace}, {Statement: s}}
}

var keyAndText = []int16{pgx.BinaryFormatCode, pgx.TextFormatCode}

var binaryFormat = []int16{pgx.BinaryFormatCode}

// marking is what a transaction knows of its markers.
type marking struct {
	sent *marker   // went out with the latest message that may commit, and what became of it is not known
	idle []*marker // went out with statements that might have committed, and have not
	off  bool      // the server takes no writes in this transaction
}

// marks reports whether what t commits is marked.
func (t *tx) marks() bool {
	return t.pool.marks != nil && !t.history.passive && !t.marking.off && !t.opening.readOnly
}

// place makes a new marker, which goes out with the message that is about to be sent. It returns the statements for it;
// none where the server takes no writes. ends says that the message ends the transaction: then it deletes the markers
// that nobody will ask for any more. Before that it must not, since how it does so lasts until the end.
func (t *tx) place(ctx context.Context, ends bool) (extras []wire.Extra, _ error) {
	known, err := t.pool.learnMarks(ctx)
	if err != nil || known == nil {
		return nil, err
	}
	m := &marker{table: t.pool.marks, known: known, key: newUID(), at: time.Now()}
	t.marking.sent = m
	if before := t.c.spent; ends && before != nil {
		extras = before.remove()
	}
	for n := 0; ends && n < len(t.marking.idle); n++ {
		extras = append(extras, t.marking.idle[n].remove()...)
	}
	return append(extras, m.insert()), nil
}

// learnMarks returns what is known of the table of markers. Where that was forgotten a new connection learns it.
func (p *pool) learnMarks(ctx context.Context) (*known, error) {
	if known := p.marks.known.Load(); known != nil {
		return known, nil
	}
	l, err := p.connect(ctx, "")
	if err != nil {
		return nil, err
	}
	l.hangUp(ctx)
	return p.marks.known.Load(), nil
}

// isUnmarked reports whether err is the answer to a marker that could not be placed where another one can be, or none
// is needed: because the epoch is gone, or the transaction takes no writes.
func (t *tx) isUnmarked(err error) bool {
	switch pgerr.Code(err) {
	case notNullViolation:
		t.marking.sent.forgetTable()
	case readOnlyTransaction:
		t.marking.off = true
	default:
		return false
	}
	t.marking.sent = nil
	return true
}

const (
	notNullViolation    = "23502"
	readOnlyTransaction = "25006"
)

// forgetTable has the next marker learn the table anew.
func (m *marker) forgetTable() { m.table.known.CompareAndSwap(m.known, nil) }

// noteMark takes note that the marker's transaction is known to be committed: nobody will ask for it any more.
func (t *tx) noteMark() {
	if m := t.marking.sent; m != nil {
		t.c.spent, t.marking.sent = m, nil
	}
}

// marksAlone reports whether s, a statement outside a transaction, is committed with a marker.
func (t *tx) marksAlone(s *wire.Statement) bool {
	class := &s.Class
	byQuery := s.Form == wire.Simple && t.c.mode == pgx.QueryExecModeSimpleProtocol
	return !t.explicit && t.marks() && t.within == nil && !t.inText && !byQuery &&
		class.RowsOnly && !class.Reads && !class.Several && class.Commit == sqltext.NoCommit
}

// marksBefore reports whether s commits the application's transaction, and is to have a marker before it. Of DDL, which
// stands alone after the commit, the marker would say nothing; nor would it of what a text of several statements does
// after a COMMIT in its middle.
func (t *tx) marksBefore(s *wire.Statement) bool {
	class := &s.Class
	return t.explicit && class.Commit != sqltext.NoCommit && !class.DDL && !class.Several && s.Form != wire.Parse &&
		t.history.wrote && t.marks()
}

// mostIdle bounds how many markers of a transaction are deleted with its commit. More of them expire.
const mostIdle = 16

// setAside is for a marker before a statement that has not committed.
func (m *marking) setAside() {
	if m.sent != nil && len(m.idle) < mostIdle {
		m.idle = append(m.idle, m.sent)
	}
	m.sent = nil
}

// concludeMark takes note of the success of a statement that had a marker.
func (t *tx) concludeMark(tag pgconn.CommandTag) {
	if t.explicit && tag.String() != sqlCommit {
		t.marking.setAside() // the transaction is still open, or it was rolled back
	}
	t.noteMark()
}

// noteWrite takes note of what a statement that succeeded may have written.
func (h *history) noteWrite(class *sqltext.Class, tag pgconn.CommandTag) {
	h.wrote = h.wrote || !class.Reads && (class.Several || mayWrite(tag.String()))
}

// mayWrite reports whether the statement with this tag may have written something. A SELECT may have called a function
// that does, and so may one that is read by FETCH, or at the commit, since it was declared WITH HOLD.
func mayWrite(tag string) bool {
	word, _, _ := strings.Cut(tag, " ")
	switch word {
	case "SET", "SHOW", "RESET", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "START", "COMMIT",
		"CLOSE", "PREPARE", "DEALLOCATE", "DISCARD", "LOCK", "LISTEN", "UNLISTEN", "":
		return false
	}
	return true
}

// CommitAnswer is what was answered to the question for the outcome of a commit. It is the metrics' label answer.
type CommitAnswer string

// What can be answered.
const (
	CommitAnswerCommitted CommitAnswer = "committed" // the transaction is committed
	CommitAnswerRefused   CommitAnswer = "refused"   // it is not, and never will be
	CommitAnswerUnknown   CommitAnswer = "unknown"   // nobody answered in time, or the table of markers lost its rows
)

var allCommitAnswers = []CommitAnswer{CommitAnswerCommitted, CommitAnswerRefused, CommitAnswerUnknown}

// isOpen reports whether f leaves open what became of a commit, and that can be found out.
func (t *tx) isOpen(f fault) bool {
	marked := t.marking.sent != nil
	if (marked || f.class.Commits() && t.wroteNothing()) &&
		f.reach == wire.InStatement && commitIsUnknown(f.err, !t.c.crdb) {
		return true
	}
	t.marking.sent = nil
	return false
}

// wroteNothing reports whether the transaction has certainly changed nothing. If the answer to its commit is lost it
// can be run again: all that the commit could say is that what was read may be believed.
func (t *tx) wroteNothing() bool { return t.explicit && !t.history.passive && !t.history.wrote }

// resolve deals with a commit that f has left open: it asks what became of it. If it was carried out the step is over.
// If it can't be any more, or has changed nothing, f becomes the loss of a connection before the commit.
func (t *tx) resolve(ctx context.Context, s step, f *fault) (told error, over bool) {
	m := t.marking.sent
	answer := CommitAnswerRefused
	if m != nil {
		answer = t.ask(ctx, *f)
	} else {
		t.rollback()
	}
	switch answer {
	case CommitAnswerCommitted:
		return s.settled(*f), true
	case CommitAnswerRefused:
		t.notCommitted(OutcomeFailed)
		*f = fault{err: f.err, reach: wire.Unsent, refused: true}
		return nil, false
	}
	return t.unresolved(f.err, m), true
}

// unresolved ends a transaction, or a statement outside one, whose outcome can still be asked for by m.
func (t *tx) unresolved(err error, m *marker) error {
	if !t.explicit {
		t.leaveLane()
		return &AmbiguousCommitError{err: err, alone: true, mark: m}
	}
	told := t.ambiguous(err)
	if ambiguous, ok := told.(*AmbiguousCommitError); ok { //nolint:errorlint // made by it
		ambiguous.mark = m
	}
	return told
}

// markRefused reports whether f was met by a marker because the transaction takes no writes. Then it begins anew, and
// its commit is not marked.
func (t *tx) markRefused(f fault) bool {
	if !f.unmarked || !t.restartable() {
		return false
	}
	t.openFresh(false)
	return true
}

// askTime is for how much longer the question is asked after the context of the commit has ended, and at least.
const askTime = 5 * time.Second

// ask finds out what became of the commit that f has left open. It asks on connections of its own, until there is an
// answer or the policy's time is over.
func (t *tx) ask(ctx context.Context, f fault) CommitAnswer {
	m, began, times := t.marking.sent, time.Now(), 1
	t.marking.sent = nil
	t.rollback() // or the question would wait for what is left of the transaction
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(t.timeLeft(), askTime))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(askTime, cancel) })()
	answer, again := t.askOnce(asking, m)
	for ; again && sleep(asking, asking, redialPause) == nil; times++ {
		answer, again = t.askOnce(asking, m)
	}
	if answer == CommitAnswerCommitted {
		t.c.spent = m
	}
	t.pool.metrics().asked(answer)
	t.announceAnswer(ctx, CommitEvent{Answer: answer, Asked: times, Elapsed: time.Since(began), Err: f.err})
	return answer
}

// askOnce asks on a new connection. again reports whether there is no answer yet, and there may be one.
func (t *tx) askOnce(ctx context.Context, m *marker) (answer CommitAnswer, again bool) {
	l, err := t.pool.connect(ctx, t.c.host)
	if err != nil {
		return CommitAnswerUnknown, !isHopeless(err)
	}
	defer l.hangUp(ctx)
	answer, err = m.ask(ctx, l.Session)
	return answer, err != nil && !pgerr.IsInvalid(err)
}

// question inserts the key as refused. It changes nothing where the key is there, and finds nothing where the epoch is
// not.
func (k *known) question() string {
	return "INSERT INTO " + k.name + " AS m (id, refused) " +
		"SELECT $1::UUID, true FROM " + k.name + " AS e WHERE e.id = $2::UUID " +
		"ON CONFLICT (id) DO UPDATE SET refused = m.refused RETURNING m.refused"
}

// ask puts the question on a session. With an error there is no answer yet.
func (m *marker) ask(ctx context.Context, s *wire.Session) (CommitAnswer, error) {
	keys := [][]byte{[]byte(m.key.String()), []byte(m.known.epoch.String())}
	res := s.PG.ExecParams(ctx, m.known.question(), keys, nil, nil, nil).Read()
	switch {
	case res.Err != nil:
		return CommitAnswerUnknown, res.Err
	case len(res.Rows) == 0:
		m.forgetTable()
		return CommitAnswerUnknown, nil
	case string(res.Rows[0][0]) == "t":
		return CommitAnswerRefused, nil
	}
	return CommitAnswerCommitted, nil
}

// check makes sure, with the pool's first connection, that the table of markers is there and may be used, and learns
// its epoch. On a server that takes no writes there is nothing to mark.
func (m *markTable) check(ctx context.Context, s *wire.Session) error {
	if m.known.Load() != nil || ctx.Value(withoutTableKey{}) != nil {
		return nil
	}
	found, err := m.tryOut(ctx, s)
	for pgerr.Conflict(err) != nil && ctx.Err() == nil {
		found, err = m.tryOut(ctx, s)
	}
	switch {
	case pgerr.SQLState(err) == readOnlyTransaction:
		return nil
	case err != nil:
		return fmt.Errorf("cockroachdb: retry_commit_marker is on, and the table %s can't be used: cockroachdb.CreateCommitTable makes it, and "+
			"this user must be allowed to SELECT, INSERT, UPDATE and DELETE in it: %w", m.name, err)
	case found == nil:
		return fmt.Errorf("cockroachdb: the table %s of commit markers is empty, as after a TRUNCATE: call cockroachdb.CreateCommitTable again", m.name)
	}
	m.known.Store(found)
	if found.file != nil {
		_ = s.PG.Exec(ctx, "DELETE FROM "+m.name+" WHERE expires_at < now()").Close() // else the next process does it
	}
	return nil
}

// tryOut does in the table whatever the driver will do, and returns what is to be known of it; nil if it has no epoch.
func (m *markTable) tryOut(ctx context.Context, s *wire.Session) (*known, error) {
	file, err := s.PG.Exec(ctx, "SELECT pg_relation_filenode('"+m.name+"'::REGCLASS)").ReadAll()
	if err != nil && s.Closed() {
		return nil, err
	}
	key := "'" + newUID().String() + "'"
	results, err := s.PG.Exec(ctx, strings.Join([]string{
		"INSERT INTO " + m.name + " (id, refused, expires_at) VALUES (" + key + ", true, now())",
		"UPDATE " + m.name + " SET refused = refused WHERE id = " + key,
		"DELETE FROM " + m.name + " WHERE id = " + key,
		"SELECT id FROM " + m.name + " WHERE expires_at IS NULL ORDER BY id LIMIT 1",
	}, "; ")).ReadAll()
	if err != nil {
		return nil, err
	}
	epochs := results[len(results)-1].Rows
	if len(epochs) == 0 {
		return nil, nil
	}
	found := &known{name: m.fullName(ctx, s)}
	if len(file) == 1 && len(file[0].Rows) == 1 { // CockroachDB has no such function
		found.file = file[0].Rows[0][0]
	}
	var epoch pgtype.UUID
	err = epoch.Scan(string(epochs[0][0]))
	found.epoch = epoch.Bytes
	return found, err
}

// fullName is the table's name with its database and schema; the name that was configured if the server does not say.
func (m *markTable) fullName(ctx context.Context, s *wire.Session) string {
	results, err := s.PG.Exec(ctx, "SELECT current_database(), n.nspname, c.relname FROM pg_class c JOIN pg_namespace n "+
		"ON n.oid = c.relnamespace WHERE c.oid = '"+m.name+"'::REGCLASS").ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		return m.name
	}
	var full pgx.Identifier
	for _, part := range results[0].Rows[0] {
		full = append(full, string(part))
	}
	return full.Sanitize()
}

type withoutTableKey struct{}

var errNoMark = errors.New("cockroachdb: the error has no commit marker: it is no AmbiguousCommitError of a connection with retry_commit_marker=on, or comes from a transaction that has none")

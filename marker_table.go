package cockroachdb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

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

// parseUID reads what String has returned.
func parseUID(s string) (u uid, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if copy(u[:], b) != len(u) || err != nil || u.String() != s {
		return uid{}, fmt.Errorf("%q is no UUID", s)
	}
	return u, nil
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

// forgetTable has the next marker learn the table anew.
func (m *marker) forgetTable() { m.table.known.CompareAndSwap(m.known, nil) }

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
	found.epoch, err = parseUID(string(epochs[0][0]))
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

const (
	notNullViolation    = "23502"
	readOnlyTransaction = "25006"
)

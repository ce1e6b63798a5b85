package fakepg

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// run plays the reply of a portal: its rows, at most limit of them unless that is 0, and its end.
func (s *session) run(b *portal, limit int) {
	if b.reply.Cut == CutHalf {
		s.Flush()
	}
	if b.reply.Err == nil && limit > 0 && s.sendSome(b, limit) {
		s.Send(&pgproto3.PortalSuspended{})
		return
	}
	s.sendRows(b)
	s.finish(b)
	if b.reply.EndsTx {
		s.tx.end()
	}
	switch b.reply.Cut {
	case CutHalf:
		s.out = s.out[:len(s.out)/2]
		s.Close()
	case CutShutDown:
		s.fail("", Fatal(Error("57P01", "server is shutting down")))
	case CutAfter:
		s.Close()
	}
}

// sendSome sends the next rows, and reports whether there may be more.
func (s *session) sendSome(b *portal, limit int) bool {
	if b.sent == 0 {
		for row := range s.rows(b) {
			b.pending = append(b.pending, cloneValues(row))
		}
		b.reply.Values, b.reply.Rows, b.reply.RowsFunc = nil, nil, nil // all are in pending now
	}
	some := b.pending[:min(limit, len(b.pending))]
	b.pending = b.pending[len(some):]
	for _, row := range some {
		s.Send(&pgproto3.DataRow{Values: row})
		b.sent++
	}
	return len(some) == limit
}

// sendRows sends the rows that are left, or those that go before the error.
func (s *session) sendRows(b *portal) {
	if b.reply.Err != nil && b.reply.ErrAfterRows == 0 {
		return
	}
	var row pgproto3.DataRow
	for row.Values = range s.rows(b) {
		s.Send(&row)
		b.sent++
		if b.reply.Err != nil && b.sent == b.reply.ErrAfterRows {
			return
		}
	}
}

// finish ends a statement: with the error of the reply, or of the state of the transaction, or with a tag.
func (s *session) finish(b *portal) {
	tag, err := b.reply.Tag, b.reply.Err
	if b.reply.ErrAt == AtSync {
		err = nil
	}
	if err == nil && b.verb != "" {
		var own string
		if own, err = s.tx.apply(b.verb, b.savepoint); tag == "" {
			tag = own
		}
	}
	if err != nil {
		s.fail(b.verb, err)
		return
	}
	if b.verb == "" {
		s.tx.touched = s.tx.touched || !hasPrefixFold(b.sql, "SHOW ") && !hasPrefixFold(b.sql, "SET ")
		s.deallocate(b.sql)
	}
	if tag == "" {
		tag = defaultTag(b)
	}
	s.Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
	if b.reply.ErrAt == AtSync {
		s.fail(b.verb, b.reply.Err)
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// deallocate does what pgx needs of SQL's own way to forget prepared statements.
func (s *session) deallocate(sql string) {
	words := strings.Fields(sql)
	if len(words) < 2 {
		return
	}
	all := strings.EqualFold(words[1], "ALL")
	switch {
	case strings.EqualFold(words[0], "DEALLOCATE") && !all:
		delete(s.prepared, strings.Trim(words[len(words)-1], `";`))
	case all && (strings.EqualFold(words[0], "DEALLOCATE") || strings.EqualFold(words[0], "DISCARD")):
		clear(s.prepared)
	}
}

func defaultTag(b *portal) string {
	word, _, _ := strings.Cut(strings.TrimSpace(b.sql), " ")
	word = strings.ToUpper(word)
	switch n := strconv.Itoa(b.sent); {
	case word == "INSERT" && len(b.reply.Columns) > 0:
		return "INSERT 0 " + n
	case word == "INSERT":
		return "INSERT 0 1"
	case len(b.reply.Columns) > 0 && (word == "UPDATE" || word == "DELETE" || word == "UPSERT"):
		return word + " " + n
	case word == "UPDATE" || word == "DELETE" || word == "UPSERT":
		return word + " 1"
	case len(b.reply.Columns) > 0 || word == "SELECT":
		return "SELECT " + n
	default:
		return word
	}
}

// rows are what is left of a reply's rows, from whichever of its fields they are in.
func (s *session) rows(b *portal) iter.Seq[[][]byte] {
	switch r := b.reply; {
	case r.Values != nil:
		return s.encoded(b)
	case r.Rows != nil:
		return slices.Values(r.Rows)
	case r.RowsFunc != nil:
		return r.RowsFunc
	default:
		return slices.Values(b.pending)
	}
}

// encoded are the rows given as Go values, in the format that was asked for.
func (s *session) encoded(b *portal) iter.Seq[[][]byte] {
	if s.types == nil {
		s.types = pgtype.NewMap()
	}
	return func(yield func([][]byte) bool) {
		row := make([][]byte, len(b.reply.Columns))
		for _, values := range b.reply.Values {
			if len(values) != len(row) {
				panic(fmt.Errorf("reply to %q: a row of %d values for %d columns", b.sql, len(values), len(row)))
			}
			for i, v := range values {
				// Not nil, which would make "" NULL.
				encoded, err := s.types.Encode(columnOID(b.reply.Columns[i]), format(b.formats, i), v, []byte{})
				if err != nil {
					panic(fmt.Errorf("reply to %q, column %d: %w", b.sql, i+1, err))
				}
				row[i] = encoded
			}
			if !yield(row) {
				return
			}
		}
	}
}

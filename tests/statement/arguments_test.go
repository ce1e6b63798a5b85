package statement_test

import (
	"database/sql/driver"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// []byte, map or pointer argument changed after Exec → the original bytes are replayed.
func TestArguments_ChangedAfterExec_OldBytesAreReplayed(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO docs VALUES ($1)"
	type document struct{ A int }
	number, text := int64(1), "before"
	raw, list := []byte("before"), []string{"a", "b"}
	dict, doc := map[string]any{"a": 1}, &document{1}
	when := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		oid    uint32
		arg    any
		change func()
	}{
		{"bytes", pgtype.ByteaOID, raw, func() { copy(raw, "AFTERW") }},
		{"bytes as JSON", pgtype.JSONBOID, raw, func() { copy(raw, "ELSEWH") }},
		{"a map", pgtype.JSONBOID, dict, func() { dict["a"] = 2 }},
		{"a pointer to a struct", pgtype.JSONBOID, doc, func() { doc.A = 2 }},
		{"a pointer to a number", pgtype.Int8OID, &number, func() { number = 2 }},
		{"a pointer to a text", pgtype.TextOID, &text, func() { text = "after" }},
		{"a slice", pgtype.TextArrayOID, list, func() { list[0] = "c" }},
		{"a pointer to a time", pgtype.TimestamptzOID, &when, func() { when = when.Add(time.Hour) }},
	} {
		for _, mode := range []string{"", "default_query_exec_mode=exec", "default_query_exec_mode=cache_describe"} {
			if mode == "default_query_exec_mode=exec" && tc.oid == pgtype.JSONBOID {
				continue // which needs the type
			}
			t.Run(tc.name+mode, func(t *testing.T) {
				r := kit.New(t, kit.Script{
					insert:        kit.Always(fakepg.Reply{ParamOIDs: []uint32{tc.oid}}),
					kit.Update(1): kit.ConflictOn(1),
				}, mode)
				tx := r.Begin(t)
				kit.Exec(t, tx, insert, tc.arg)
				tc.change()
				kit.Exec(t, tx, kit.Update(1))
				require.NoError(t, tx.Commit())
				got := r.Binds()
				require.Len(t, got, 2)
				assert.Equal(t, got[0], got[1])
				assert.NotEqual(t, "[NULL]", got[0])
				kit.WantUsable(t, r.DB)
			})
		}
	}
	// What was changed is what comes next.
	t.Run("the next Exec sends what it is now", func(t *testing.T) {
		arg := []byte("one")
		r := kit.New(t, kit.Script{
			insert:        kit.Always(fakepg.Reply{ParamOIDs: []uint32{pgtype.ByteaOID}}),
			kit.Update(1): kit.ConflictOn(1),
		})
		tx := r.Begin(t)
		kit.Exec(t, tx, insert, arg)
		copy(arg, "two")
		kit.Exec(t, tx, insert, arg)
		copy(arg, "xxx")
		kit.Exec(t, tx, kit.Update(1))
		require.NoError(t, tx.Commit())
		assert.Equal(t, []string{"[x'6f6e65']", "[x'74776f']", "[x'6f6e65']", "[x'74776f']"}, r.Binds())
	})
}

// counter is a Valuer that gives another value each time.
type counter struct{ calls int }

func (c *counter) Value() (driver.Value, error) {
	c.calls++
	return fmt.Sprint("call ", c.calls), nil
}

// A Valuer is called once.
func TestArguments_Valuer_IsAskedOnce(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO docs VALUES ($1)"
	for _, mode := range kit.QueryModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{
				insert:        kit.Always(fakepg.Reply{ParamOIDs: []uint32{pgtype.TextOID}}),
				kit.Update(1): kit.ConflictOn(1),
				kit.Release:   kit.ConflictOn(1),
			}, "default_query_exec_mode="+mode)
			v := &counter{}
			tx := r.Begin(t)
			kit.Exec(t, tx, insert, v)
			kit.Exec(t, tx, kit.Update(1))
			require.NoError(t, tx.Commit())
			assert.Equal(t, 1, v.calls)
			if mode == "simple_protocol" {
				assert.Equal(t, 3, r.Times("INSERT INTO docs VALUES ( 'call 1' )"), r.Sent())
				return
			}
			assert.Equal(t, []string{`["call 1"]`, `["call 1"]`, `["call 1"]`}, r.Binds())
		})
	}
}

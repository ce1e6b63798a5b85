package cockroachdb

import (
	"context"
	"slices"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// askForKey asks the server whether a text reads by a unique key. That takes a round trip, once for each text that
// begins to lock.
func (t *tx) askForKey(text *lockText) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), rollbackTimeout)
	defer cancel()
	byKey, err := t.c.readsByKey(ctx, text.read)
	if err != nil && pgerr.Answer(err) == nil {
		text.of.unasked(text)
		return
	}
	t.lockChanged(ctx, text, text.of.answered(text, byKey), err)
}

// readsByKey asks the server whether a read has a condition for each column of a unique key of a table, whose rows are
// all the same to those who lock them and those who don't.
func (c *conn) readsByKey(ctx context.Context, read *sqltext.KeyRead) (bool, error) {
	if c.session.Closed() || c.session.Status() != wire.Idle {
		return false, wire.ErrClosed
	}
	question := wire.Statement{
		Form: wire.Unnamed, SQL: keyQuestion, Values: [][]byte{[]byte(read.Table)}, ParamOIDs: catalogOIDs,
	}
	a, _, err := c.session.Send(ctx, nil, &question)
	if err != nil {
		return false, err
	}
	keys := make(map[string]bool) // by index, whether all of its columns so far have a condition
	for a.Next() {
		if row := a.Row(); len(row) == 2 {
			column := string(row[1])
			has := slices.ContainsFunc(read.Where, func(e sqltext.Equality) bool { return e.Column == column })
			known, met := keys[string(row[0])]
			keys[string(row[0])] = has && (known || !met)
		}
	}
	_, err = a.Close()
	for _, whole := range keys {
		if whole && err == nil {
			return true, nil
		}
	}
	return false, err
}

// keyQuestion asks for the columns of the unique keys of a table without row-level security.
const keyQuestion = `SELECT i.indexrelid::TEXT, a.attname::TEXT FROM pg_catalog.pg_class c ` +
	`JOIN pg_catalog.pg_index i ON i.indrelid = c.oid ` +
	`JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey) ` +
	`WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity ` +
	`AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL`

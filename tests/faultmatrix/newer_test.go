package faultmatrix_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// ofNewerCockroachDB are the dialect of v25.4: DDL commits what is open before it, and there is SHOW COMMIT TIMESTAMP.
const ofNewerCockroachDB dialect = "CockroachDB v25.4"

// committedPartly is for transactions of which a part may be committed when they fail: but never with an error after
// which a loop runs it again, or that says that nothing was committed.
func committedPartly(err error) bool {
	return kit.StateOf(err) != "40001" && !saysNothingDone(err)
}

// seededAnd is the table as it was, with changes of these names.
func seededAnd(changes ...string) []string {
	p := &runner{}
	p.start()
	for _, k := range changes {
		p.table[k] = "w"
	}
	return p.table.lines()
}

func showCommit(p *runner) error {
	var at string
	err := p.tx.QueryRowContext(p.ctx, "SHOW COMMIT TIMESTAMP").Scan(&at)
	if err == nil {
		p.show("a timestamp: %t", at != "")
	}
	return err
}

// insertSetting writes what the session is set to.
func insertSetting(k int, setting string) step {
	return execStep("INSERT INTO notes VALUES ($1, $2 || current_setting('application_name'))",
		func(p *runner) { p.table[fmt.Sprint(k)] = value(k) + setting }, k, value(k))
}

// undoesNoSet is for transactions that can't begin anew where a rollback does not undo a SET.
func undoesNoSet(m dialect) bool { return !m.isPostgreSQL() }

func set(how string) step { return execStep(how, nil) }

// emptyOpen leaves an empty result open while other steps run, and looks at it then.
func emptyOpen(steps ...step) step {
	return func(p *runner) error {
		rows, err := p.tx.QueryContext(p.ctx, "SELECT k, v, 0 FROM notes WHERE k > $1", 99)
		if err != nil {
			return err
		}
		defer rows.Close()
		if err := p.all(steps...); err != nil {
			return err
		}
		return p.scan(rows, -1)
	}
}

// keyed writes a note of a row by the key that the database has made and the application has read. Without a row of
// that key there is none.
func keyed(k int) step {
	return func(p *runner) error {
		var id string
		if err := p.tx.QueryRowContext(p.ctx, "INSERT INTO keyed (k) VALUES ($1) RETURNING id", k).Scan(&id); err != nil {
			return err
		}
		p.show("a key: %t", id != "")
		return noteByKey(id, k)(p)
	}
}

// noteByKey writes the note of the row that has the key, which is to be that of k.
func noteByKey(id string, k int) step {
	return execStep("INSERT INTO notes SELECT k, $2 FROM keyed WHERE id = $1", writes(k), id, value(k))
}

// keyedValues is keyed for two rows that are inserted at once.
func keyedValues(a, b int) step { return keyedRows("VALUES ($1), ($2)", []int{a, b}, a, b) }

// keyedSelect is keyed for the rows of an array.
func keyedSelect(ks ...int) step { return keyedRows("SELECT unnest($1::INT[])", ks, ks) }

func keyedRows(values string, ks []int, args ...any) step {
	return func(p *runner) error {
		rows, err := p.tx.QueryContext(p.ctx, "INSERT INTO keyed (k) "+values+" RETURNING id, k", args...)
		if err != nil {
			return err
		}
		ids := make(map[int]string)
		for rows.Next() {
			var id string
			var k int
			if err := rows.Scan(&id, &k); err != nil {
				return errors.Join(err, rows.Close())
			}
			ids[k] = id
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		p.show("%d keys", len(ids))
		for _, k := range ks {
			if err := noteByKey(ids[k], k)(p); err != nil {
				return err
			}
		}
		return nil
	}
}

// newerTransactions are run on the newer CockroachDB. Those that mean the same to PostgreSQL run there, too.
var newerTransactions = []transaction{
	{name: "SHOW COMMIT TIMESTAMP", run: txOf(insert(1), update0, showCommit), careful: true, perhaps: committedPartly},

	{
		name: "DDL that commits, first", run: txOf(addColumn, insert(1)), careful: true,
		perhaps: committedPartly, partly: [][]string{seededAnd("column")},
	},
	{
		name: "DDL that commits, in the middle", run: txOf(insert(1), addColumn, insert(2)), careful: true,
		perhaps: committedPartly,
		partly: [][]string{
			notes{"0": "zero", "1": value(1)}.lines(), notes{"0": "zero", "1": value(1), "column": "w"}.lines(),
		},
	},
	{
		name: "DDL that commits, prepared", run: txOf(counts, addColumnPrepared, insert(2)), careful: true,
		perhaps: committedPartly,
		partly: [][]string{
			notes{"0": "zero", "counter": "1"}.lines(), notes{"0": "zero", "counter": "1", "column": "w"}.lines(),
		},
	},
	{
		name: "DDL that commits, prepared first", run: txOf(addColumnPrepared, insert(1)), careful: true,
		perhaps: committedPartly, partly: [][]string{seededAnd("column")},
	},
	{name: "DDL that commits, alone", run: txOf(addColumn), careful: true, perhaps: committedPartly},
	{name: "DDL that commits, in RunTx", run: closure(addColumn), careful: true, perhaps: committedPartly},

	{name: "SET alone", run: txOf(set("SET application_name = 'alone'")), everywhere: true},
	{
		name: "SET first", everywhere: true,
		run: txOf(set("SET application_name = 'a'"), insertSetting(1, "a"), update0, insert(2)),
	},
	{
		name: "SET in the middle", everywhere: true, careful: true, stays: undoesNoSet,
		run: txOf(insertSetting(1, ""), set("SET application_name = 'm'"), insertSetting(2, "m"), update0),
	},
	{
		name: "SET LOCAL in the middle", everywhere: true, careful: true,
		run: txOf(insertSetting(1, ""), set("SET LOCAL application_name = 'l'"), insertSetting(2, "l"), update0),
	},
	{name: "empty result, open", run: txOf(insert(1), emptyOpen(update0, insert(2)), insert(3)), everywhere: true},
	{
		name: "key made by the database", careful: true, everywhere: true, stays: dialect.isPostgreSQL,
		run: txOf(keyed(1), update0, keyed(2), keyed(3)),
	},
	{
		name: "keys made by the database, for rows", careful: true, everywhere: true, stays: dialect.isPostgreSQL,
		run: txOf(keyedValues(1, 2), update0, keyedSelect(3, 4)),
	},
	{name: "prepared in the middle", run: txOf(insert(5), prepared, update0), everywhere: true},
}

// TestFaultMatrix_NewerTransactions is TestFaultMatrix for newerTransactions. How often each ending came is in the log.
func TestFaultMatrix_NewerTransactions(t *testing.T) {
	t.Parallel()
	m, _ := runAll(t, newerVariants())
	t.Log(m.totals())
}

func newerVariants() (all []*variant) {
	for _, p := range newerTransactions {
		all = append(all, &variant{p, ofNewerCockroachDB, false, len(all)})
		if !p.careful {
			all = append(all, &variant{p, ofNewerCockroachDB, true, len(all)})
		}
		if p.everywhere {
			all = append(all, &variant{p, ofPostgreSQL, false, len(all)})
		}
	}
	return all
}

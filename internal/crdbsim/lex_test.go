package crdbsim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][]string{
		"":                                   nil,
		" ; -- nothing\n ; /* ; */ ":         nil,
		"SELECT 1":                           {"SELECT 1"},
		" SELECT 1 ; ":                       {"SELECT 1"},
		"BEGIN; SAVEPOINT a;SELECT 1":        {"BEGIN", "SAVEPOINT a", "SELECT 1"},
		"SELECT ';'; SELECT 2":               {"SELECT ';'", "SELECT 2"},
		"SELECT 'it''s;'; SELECT 2":          {"SELECT 'it''s;'", "SELECT 2"},
		`SELECT E'\';'; SELECT 2`:            {`SELECT E'\';'`, "SELECT 2"},
		`SELECT '\'; SELECT 2`:               {`SELECT '\'`, "SELECT 2"},
		`SELECT "a;""b"; SELECT 2`:           {`SELECT "a;""b"`, "SELECT 2"},
		"SELECT $$;$$; SELECT 2":             {"SELECT $$;$$", "SELECT 2"},
		"SELECT $a$;$$;$a$; SELECT 2":        {"SELECT $a$;$$;$a$", "SELECT 2"},
		"SELECT $1; SELECT $2":               {"SELECT $1", "SELECT $2"},
		"SELECT a$b$c; SELECT 2":             {"SELECT a$b$c", "SELECT 2"},
		"SELECT 1 /* ; /* ; */ ; */; BEGIN":  {"SELECT 1", "BEGIN"},
		"SELECT 1 -- ;\n, 2; BEGIN":          {"SELECT 1 -- ;\n, 2", "BEGIN"},
		"SELECT 'open; SELECT 2":             {"SELECT 'open; SELECT 2"},
		"SELECT $x$ open; SELECT 2":          {"SELECT $x$ open; SELECT 2"},
		"CREATE RULE r AS DO (a; b); BEGIN":  {"CREATE RULE r AS DO (a; b)", "BEGIN"},
		"SELECT /* open; SELECT 2":           {"SELECT"},
		"f BEGIN ATOMIC a; CASE END; END; b": {"f BEGIN ATOMIC a; CASE END; END", "b"},
	} {
		assert.Equal(t, want, split(sql), "%s", sql)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("BEGIN; SELECT $$;$$, E'\\'', \"x\"; -- c\n/* d */ COMMIT")
	f.Add("$")
	f.Add("e'\\")
	f.Fuzz(func(t *testing.T, sql string) {
		at := 0
		for _, part := range split(sql) { // each is a piece of sql, in order
			i := strings.Index(sql[at:], part)
			if i < 0 || part == "" {
				t.Fatalf("%q is not next in %q", part, sql[at:])
			}
			at += i + len(part)
			classify(part)
		}
	})
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]statement{
		"begin":                           {kind: kindBegin},
		" /* x */ BEGIN WORK ; ":          {kind: kindBegin},
		"START TRANSACTION READ ONLY":     {kind: kindBegin, modes: modes{access: "READ ONLY"}},
		"BEGIN PRIORITY high, READ WRITE": {kind: kindBegin, modes: modes{access: "READ WRITE", priority: "high"}},
		"BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE": {kind: kindBegin},
		"BEGIN AS OF SYSTEM TIME '-1ms', PRIORITY LOW": {
			kind:  kindBegin,
			modes: modes{access: "READ ONLY", priority: "low"},
		},
		"BEGIN PRIORITY NONSENSE":             {kind: kindInvalid},
		"BEGIN PRIORITY":                      {kind: kindInvalid},
		"BEGIN ISOLATION LEVEL":               {kind: kindInvalid},
		"BEGIN; SELECT 1":                     {kind: kindOrdinary},
		"COMMIT TRANSACTION":                  {kind: kindCommit},
		"END":                                 {kind: kindCommit},
		"COMMIT AND CHAIN":                    {kind: kindInvalid},
		"ABORT":                               {kind: kindRollback},
		"ROLLBACK WORK":                       {kind: kindRollback},
		"ROLLBACK TO a":                       {kind: kindRollbackTo, name: "a"},
		"rollback transaction to savepoint A": {kind: kindRollbackTo, name: "a"},
		`SAVEPOINT "A b"`:                     {kind: kindSavepoint, name: "A b"},
		"SAVEPOINT":                           {kind: kindInvalid},
		"SAVEPOINT a b":                       {kind: kindInvalid},
		"RELEASE a -- it":                     {kind: kindRelease, name: "a"},
		"RELEASE SAVEPOINT A":                 {kind: kindRelease, name: "a"},
		"SHOW TRANSACTION STATUS":             {kind: kindShowStatus},
		"SHOW transaction priority":           {kind: kindShow, name: "transaction_priority"},
		"SHOW server_version":                 {kind: kindOrdinary},
		"SET TRANSACTION PRIORITY HIGH":       {kind: kindSetTransaction, modes: modes{priority: "high"}},
		"SET distsql = off":                   {kind: kindSet, name: "distsql", value: "off"},
		"SET SESSION distsql TO 'on'":         {kind: kindSet, name: "distsql", value: "on"},
		"SET distsql TO DEFAULT":              {kind: kindSet, name: "distsql", reset: true},
		"SET LOCAL distsql = off":             {kind: kindSet, name: "distsql", value: "off", local: true},
		"RESET distsql":                       {kind: kindSet, name: "distsql", reset: true},
		"SET search_path = x":                 {kind: kindOrdinary},
		"USE x":                               {kind: kindInvalid},
		"SET database = x":                    {kind: kindInvalid},
		"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": {
			kind:  kindSetCharacteristics,
			modes: modes{access: "READ ONLY"},
		},
		"SELECT 'begin'": {kind: kindOrdinary},
		"":               {kind: kindOrdinary},
	} {
		got := classify(sql)
		assert.Equal(t, got.kind == kindInvalid, got.invalid != nil, "%s", sql)
		assert.Equal(t, want, statement{
			kind: got.kind, name: got.name, value: got.value, reset: got.reset, local: got.local, modes: pick(got),
		}, "%s", sql)
	}
}

// pick returns the modes of a statement that can be executed.
func pick(s *statement) modes {
	if s.kind == kindInvalid {
		return modes{}
	}
	return s.modes
}

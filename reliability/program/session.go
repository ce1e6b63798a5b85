package program

import (
	"fmt"
	"strings"
)

// Settings of the session that change what statements do or show: one that is written into rows, and the schema in
// which a table is found.

// A Scope is how a setting is set.
type Scope int

// The scopes.
const (
	ForSession Scope = iota
	ForTransaction
	ToDefault
	scopes int = iota
)

const (
	settingWord = "app.x"
	settingPath = "search_path"
)

// schemas are those that have the table spot; paths are search paths that lead to them.
var (
	schemas  = []string{"here", "there"}
	paths    = []string{"here, public", "there, public"}
	words    = []string{"a", "b", "c"}
	timeouts = []string{"lock_timeout = '5ms'", "statement_timeout = '20ms'"}
)

// defaults are set for the database.
var defaults = map[string]string{settingWord: "z", settingPath: paths[0]}

// firstSettings are those that a program begins with.
func firstSettings() map[string]string {
	return map[string]string{settingWord: words[0], settingPath: paths[0]}
}

// firstTexts set them.
var firstTexts = []string{"SET app.x = 'a'", "SET search_path = here, public"}

var sessionSpecs = map[Kind]spec{
	Assign: {name: "assign", about: aboutSetting, sql: assignText, exec: (*model).assign},
	Config: {
		name: "set_config", about: aboutSetting, columns: names("one", "i", "v"), query: (*model).config,
		sql: func(s *Statement, _ value) (string, []any) {
			const text = "SELECT 1 AS one, NULL::INT8 AS i, set_config('%s', $1, %t) AS v"
			return fmt.Sprintf(text, s.setting(), s.Scope == ForTransaction), []any{s.Word}
		},
	},
	Show: {
		name: "show", about: (*Statement).setting,
		columns: func(s *Statement) []string { return []string{s.setting()} },
		sql:     func(s *Statement, _ value) (string, []any) { return "SHOW " + s.setting(), nil },
		query:   func(m *model, s *Statement, _ any) ([][]any, error) { return [][]any{{m.session[s.setting()]}}, nil },
	},
	Setting: {
		name: "read setting", columns: names("one", "i", "v"),
		sql: plain("SELECT 1 AS one, NULL::INT8 AS i, current_setting('app.x') AS v"),
		query: func(m *model, _ *Statement, _ any) ([][]any, error) {
			return [][]any{{int64(1), nil, m.session[settingWord]}}, nil
		},
	},
	Stamp: {
		name: "stamp", about: aboutKey, sql: keyed("UPDATE kv SET t = current_setting('app.x') WHERE k = $1"),
		exec: func(m *model, s *Statement, _ any) (int64, error) {
			return m.change(&Statement{Lo: s.Lo, Column: Text}, m.session[settingWord])
		},
	},
	GetSpot: {
		name: "get spot", about: aboutKey, columns: names("k", "v"), query: (*model).getSpot,
		sql: keyed("SELECT k, v FROM spot WHERE k = $1"),
	},
	PutSpot: {
		name: "put spot", about: aboutDelta,
		sql: func(s *Statement, _ value) (string, []any) {
			return "INSERT INTO spot VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v", []any{s.Lo, s.Delta}
		},
		exec: func(m *model, s *Statement, _ any) (int64, error) {
			m.spot()[s.Lo] = s.Delta
			return 1, nil
		},
	},
	Hurry: {
		name: "hurry", about: aboutWord, exec: nothing,
		sql: func(s *Statement, _ value) (string, []any) { return "SET LOCAL " + s.Word, nil },
	},
}

// setting is the name of the setting that a statement is about.
func (s *Statement) setting() string {
	if s.Path {
		return settingPath
	}
	return settingWord
}

func aboutSetting(s *Statement) string {
	how := []string{" = ", " for the transaction = ", " to its default"}[s.Scope]
	if s.Scope == ToDefault {
		return s.setting() + how
	}
	return s.setting() + how + s.Word
}

func assignText(s *Statement, _ value) (string, []any) {
	word := s.Word
	if !s.Path {
		word = "'" + word + "'"
	}
	if s.Scope == ToDefault {
		return "RESET " + s.setting(), nil
	}
	return []string{"SET ", "SET LOCAL "}[s.Scope] + s.setting() + " = " + word, nil
}

func (m *model) assign(s *Statement, _ any) (int64, error) {
	word := s.Word
	if s.Scope == ToDefault {
		word = defaults[s.setting()]
	}
	m.session[s.setting()] = word
	if m.server.settingsSurvive() && s.Scope != ForTransaction {
		for _, sv := range m.saved {
			sv.session[s.setting()] = word
		}
	}
	return 0, nil
}

func (m *model) config(s *Statement, _ any) ([][]any, error) {
	_, err := m.assign(s, nil)
	return [][]any{{int64(1), nil, m.session[s.setting()]}}, err
}

// spot is the table that the search path leads to.
func (m *model) spot() map[int]int64 {
	schema, _, _ := strings.Cut(m.session[settingPath], ",")
	return m.spots[schema]
}

func (m *model) getSpot(s *Statement, _ any) (rows [][]any, _ error) {
	if v, found := m.spot()[s.Lo]; found {
		rows = append(rows, []any{int64(s.Lo), v})
	}
	return rows, nil
}

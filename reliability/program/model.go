package program

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
)

// A model is the tables as maps, for one program at a time.
type model struct {
	server Server
	state
	clock  int64
	births int // so far, those that were rolled back too

	// Of the program that is played:
	program int64
	session map[string]string
	shown   Keys // the keys that its part was shown
	saved   []saved
	cursors map[string]*cursor
	busy    *modelResult // one with rows that is neither read to its end nor closed: nothing else runs meanwhile
}

// A state is what is in the tables.
type state struct {
	kv     map[int]row
	pairs  map[int]int64
	extra  map[int]int64 // nil where the table is not there
	typed  typed
	born   map[int]birth            // by the row's number
	spots  map[string]map[int]int64 // by schema
	copied map[int64]int            // how many rows, by the program's ID
}

type row [columns]any

type saved struct {
	name    string
	state   state
	session map[string]string
	cursors map[string]*cursor
}

// newModel is how a round begins: every other key is there.
func newModel(server Server, keys int) *model {
	m := &model{server: server, state: state{
		kv: make(map[int]row), pairs: make(map[int]int64), extra: make(map[int]int64), typed: newTyped(),
		born: make(map[int]birth), spots: make(map[string]map[int]int64), copied: make(map[int64]int),
	}}
	for k := 0; k < keys; k += 2 {
		m.kv[k] = row{Number: int64(k), Bool: false}
		m.pairs[k] = int64(k)
	}
	for _, schema := range schemas {
		m.spots[schema] = make(map[int]int64)
	}
	return m
}

func (s state) clone() state {
	s.kv, s.extra, s.copied = maps.Clone(s.kv), maps.Clone(s.extra), maps.Clone(s.copied)
	s.pairs = maps.Clone(s.pairs)
	s.typed.rows, s.born = maps.Clone(s.typed.rows), maps.Clone(s.born)
	s.spots = maps.Clone(s.spots)
	for schema, spots := range s.spots {
		s.spots[schema] = maps.Clone(spots)
	}
	return s
}

// tables are the tables' rows as text, by table and key.
func (s state) tables() map[string]string {
	all := make(map[string]string)
	for k, r := range s.kv {
		all[fmt.Sprint("kv ", k)] = showRow(r[:])
	}
	for k, n := range s.pairs {
		all[fmt.Sprint("pairs ", k)] = showRow([]any{n})
	}
	if s.extra != nil {
		all[extraThere] = showRow([]any{true})
	}
	for k, v := range s.extra {
		all[fmt.Sprint("extra ", k)] = showRow([]any{v})
	}
	for k, r := range s.typed.rows {
		all[fmt.Sprint("typed ", k)] = showRow([]any{s.typed.shown(r.v), r.m})
	}
	for schema, spots := range s.spots {
		for k, v := range spots {
			all[fmt.Sprint(schema, ".spot ", k)] = showRow([]any{v})
		}
	}
	s.bornTables(all)
	for program, n := range s.copied {
		all[fmt.Sprint("copied ", program)] = showRow([]any{int64(n)})
	}
	return all
}

// A code is an error that the server would answer with.
type code string

func (c code) Error() string    { return "SQLSTATE " + string(c) }
func (c code) SQLState() string { return string(c) }

// play runs a part of a program, all of it or nothing, and gives what it shows. What the server has told of errors that
// nobody can foresee is believed.
func (m *model) play(p *Program, part int, told []string) ([]string, error) {
	before := m.clone()
	m.program, m.session, m.cursors = p.ID, firstSettings(), nil
	pl := player{on: m, program: p, at: func(int) {}, believes: told, settled: !m.server.retriesFirst()}
	err := pl.play(part)
	m.saved, m.busy, m.shown = nil, nil, pl.keys
	if err != nil {
		m.state = before
	}
	return pl.shown, err
}

// within is what every statement is refused by while there are rows to read.
func (m *model) within() error {
	if m.busy != nil {
		return errStillOpen
	}
	return nil
}

func (m *model) savepoint(verb, name string) error {
	if err := m.within(); err != nil {
		return err
	}
	if verb == savepoint {
		m.saved = append(m.saved, saved{name, m.clone(), maps.Clone(m.session), maps.Clone(m.cursors)})
		return nil
	}
	i := len(m.saved) - 1
	for ; i >= 0 && m.saved[i].name != name; i-- {
	}
	if i < 0 {
		return code("3B001")
	}
	if verb == rollbackTo {
		m.state, m.session = m.saved[i].state.clone(), maps.Clone(m.saved[i].session)
		m.cursors = survivors(m.saved[i].cursors, m.cursors)
		i++ // it stays
	}
	m.saved = m.saved[:i]
	return nil
}

func (m *model) exec(s *Statement, v value) (int64, error) {
	if err := m.within(); err != nil {
		return 0, err
	}
	return specs[s.Kind].exec(m, s, v.shown)
}

// prepare fails where the statement is about a table that is not there.
func (m *model) prepare(s *Statement) error {
	if err := m.within(); err != nil {
		return err
	}
	return m.missing(s.Kind)
}

func (m *model) query(s *Statement, v value) (result, error) {
	if err := m.within(); err != nil {
		return nil, err
	}
	rows, err := specs[s.Kind].query(m, s, v.shown)
	if err != nil {
		return nil, err
	}
	r := &modelResult{m: m, names: specs[s.Kind].columns(s), rows: rows}
	if len(rows) > 0 {
		m.busy = r
	}
	return r, nil
}

// A modelResult is rows to be read.
type modelResult struct {
	m     *model
	names []string
	rows  [][]any
}

func (r *modelResult) columns() ([]string, error) { return r.names, nil }

func (r *modelResult) next() ([]any, error) {
	if len(r.rows) == 0 {
		return nil, cmp.Or(r.close(), io.EOF)
	}
	first := r.rows[0]
	r.rows = r.rows[1:]
	return first, nil
}

func (r *modelResult) close() error {
	if r.m.busy == r {
		r.m.busy = nil
	}
	r.rows = nil
	return nil
}

// keys are those of the range that are there, in order.
func (m *model) keys(s *Statement) (keys []int) {
	for k := range m.kv {
		if k >= s.Lo && k < s.Hi {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

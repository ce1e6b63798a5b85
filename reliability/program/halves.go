package program

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Halves are what a program commits by one statement outside of a transaction that is more than one transaction, or may
// be. Each half that is committed by itself is a part of the program.
type Halves struct {
	By       Halving
	Pair     [2]Statement      // what is added to in each
	Mode     pgx.QueryExecMode // of a statement with arguments; 0 for the default
	Prepared bool
}

// A Halving is a statement that may commit in its middle.
type Halving int

// What can commit in its middle.
const (
	Procedure Halving = iota // CALL
	Anonymous                // DO
	TwoInText                // BEGIN; ...; COMMIT; BEGIN; ...; COMMIT
	MakeTable                // CREATE TABLE; ...; all of it is one part
	halvings
)

func (h Halving) String() string {
	return []string{
		"CALL of a procedure that commits", "DO of a block that commits", "a text of two transactions",
		"a text of CREATE TABLE and a write",
	}[h]
}

// createHalves makes the procedure.
var createHalves = "CREATE PROCEDURE halves(p INT8, c INT8, k1 INT8, d1 INT8, k2 INT8, d2 INT8) LANGUAGE plpgsql " +
	"AS $$ BEGIN " + adds("k1", "d1") + "; " + tickAndEnter("p", "c", 1) + "COMMIT; " +
	adds("k2", "d2") + "; " + tickAndEnter("p", "c", 2) + "END $$"

// halves has a program consist of them.
func (g *generator) halves(p *Program) {
	p.Form = Halved
	h := &Halves{By: Halving(g.IntN(int(halvings))), Pair: [2]Statement{g.add(), g.add()}}
	if h.By == Procedure && g.oneIn(2) {
		h.Mode = modes[g.IntN(len(modes))]
	}
	h.Prepared = h.Mode == 0 && !h.isText() && g.oneIn(2)
	p.Halves = h
}

// isText reports whether it is several statements in one text, which can't be prepared.
func (h *Halves) isText() bool { return h.By == TwoInText || h.By == MakeTable }

func (h *Halves) parts() int {
	if h.By == MakeTable {
		return 1
	}
	return len(h.Pair)
}

func (h *Halves) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  1 %v: %v", h.By, &h.Pair[0])
	if h.parts() > 1 {
		fmt.Fprintf(&b, ", then %v", &h.Pair[1])
	}
	if h.Mode != 0 {
		fmt.Fprintf(&b, ", mode %v", h.Mode)
	}
	if h.Prepared {
		b.WriteString(", prepared")
	}
	b.WriteByte('\n')
	return b.String()
}

// half plays a part of a program of halves. The first is all of it, on the server.
func (p *player) half(part int) error {
	p.at(0)
	h := p.program.Halves
	return p.quietly(h.By.String(), func() error { return p.on.half(h, part) })
}

func (m *model) half(h *Halves, part int) error {
	if err := m.within(); err != nil {
		return err
	}
	m.add(h.Pair[part-1].Lo, h.Pair[part-1].Delta)
	return nil
}

func (s *server) half(h *Halves, part int) error {
	if part > 1 {
		return nil
	}
	text, args := h.sql(s.entry)
	if h.Prepared {
		return s.prepareAndRun(text, args...)
	}
	if h.Mode != 0 {
		args = append([]any{h.Mode}, args...)
	}
	_, err := s.on.ExecContext(s.step, text, args...)
	return err
}

func (h *Halves) sql(e entry) (text string, args []any) {
	a, b := &h.Pair[0], &h.Pair[1]
	write := func(s *Statement, part int) string {
		return adds(s.Lo, s.Delta) + "; " + tickAndEnter(e.program, e.call, part)
	}
	switch h.By {
	case Procedure:
		return "CALL halves($1, $2, $3, $4, $5, $6)", []any{e.program, e.call, a.Lo, a.Delta, b.Lo, b.Delta}
	case Anonymous:
		return "DO $$ BEGIN " + write(a, 1) + "COMMIT; " + write(b, 2) + "END $$", nil
	case TwoInText:
		return "BEGIN; " + write(a, 1) + "COMMIT; BEGIN; " + write(b, 2) + "COMMIT", nil
	}
	// The write is one statement: where DDL commits by itself, statements after it may be a transaction each.
	table := "CREATE TABLE public." + madeTable(e) + " (k INT8); "
	return table + entering(e.program, e.call, 1) + adds(a.Lo, a.Delta), nil
}

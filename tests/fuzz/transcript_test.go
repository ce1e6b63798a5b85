package fuzz_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A transcript is one connection's messages, as they left the driver and as they came to it.
type transcript struct {
	sent, received []frame
	broken         bool // what came last was no message: where the next one would begin is anybody's guess
}

type frame struct {
	bytes string
	at    int // the mangler's clock
}

func (f frame) kind() byte { return f.bytes[0] }

func (f frame) body() string { return f.bytes[5:] }

// An execution is a statement that was sent, with the answer that the server gave to it by the letter of the protocol:
// the messages up to the n-th ReadyForQuery answer what was sent up to the n-th Sync.
type execution struct {
	at     int
	sql    string
	rows   []string // the bytes of each DataRow after the number of values
	tag    string
	state  string // SQLSTATEs of the errors: of two, either may be told
	ending ending
	idle   bool // the server was in no transaction when it came
}

type ending uint8

const (
	unanswered ending = iota // or by what is no answer
	completed                // CommandComplete
	empty                    // EmptyQueryResponse
	failed                   // ErrorResponse, or skipped after one
)

// executions reads a transcript, in the order of sending. fit is false where that order can't be known: pgconn, where
// it waits for the end of a result, takes no notice of a ReadyForQuery that comes before it, and reads on in the next
// answer. Nor where the server answers a statement that can't commit as if it had: that is believed.
func (t *transcript) executions() (all []execution, fit bool) {
	answers := splitAnswers(t.received)
	texts := map[string]string{}
	var request []execution
	closes := false
	n := 1 // the first answer is the start-up's
	for _, f := range t.sent {
		text, rest, _ := strings.Cut(f.body(), "\x00")
		switch f.kind() {
		case 'P':
			texts[text], _, _ = strings.Cut(rest, "\x00")
		case 'B':
			name, _, _ := strings.Cut(rest, "\x00")
			request = append(request, execution{at: f.at, sql: texts[name]})
		case 'Q':
			request = append(request, execution{at: f.at, sql: text})
		case 'X':
			return all, true
		}
		closes = closes || f.kind() == 'C'
		if f.kind() != 'S' && f.kind() != 'Q' {
			continue
		}
		if n >= len(answers) {
			return append(all, request...), true
		}
		request = readAnswer(f.kind(), request, closes, answers[n])
		before := answers[n-1]
		for i := range request {
			request[i].idle = before[len(before)-1].body() == "I"
		}
		all = append(all, request...)
		if n+1 < len(answers) && endsLate(request) || committedUnasked(request) {
			return all, false
		}
		request, closes, n = nil, false, n+1
	}
	return all, true
}

// endsLate reports whether pgconn reads on in the next answer.
func endsLate(request []execution) bool {
	last := len(request) - 1
	return last >= 0 && request[last].ending == unanswered
}

// committedUnasked reports whether a statement that can't commit, sent alone, was answered as if it had.
func committedUnasked(request []execution) bool {
	return len(request) == 1 && request[0].hasCommitted() &&
		!slices.Contains([]string{"COMMIT", "RELEASE"}, kit.Short(request[0].sql))
}

// readAnswer notes the answer to a request, which a Query or a Sync ended, and returns its executions: a Query may be
// several. closes tells whether a Close is among its messages.
func readAnswer(kind byte, request []execution, closes bool, answer []frame) []execution {
	switch {
	case kind == 'Q':
		return readSimple(request[0], answer)
	case len(request) == 1 && !closes:
		readLoosely(&request[0], answer)
	case len(request) > 0:
		readInOrder(request, answer)
	}
	return request
}

// splitAnswers cuts what was received after each ReadyForQuery, and leaves out what may come at any time.
func splitAnswers(received []frame) (answers [][]frame) {
	answers = [][]frame{nil}
	for _, f := range received {
		switch f.kind() {
		case 'N', 'A', 'S':
			continue
		}
		last := len(answers) - 1
		answers[last] = append(answers[last], f)
		if f.kind() == 'Z' {
			answers = append(answers, nil)
		}
	}
	if len(answers[len(answers)-1]) == 0 {
		answers = answers[:len(answers)-1]
	}
	return answers
}

// readLoosely reads the answer to a single statement as a client that doesn't care for what it hasn't asked.
func readLoosely(e *execution, answer []frame) {
	for _, f := range answer {
		e.read(f)
	}
}

// readSimple reads the answer to a Query, one execution for each result.
func readSimple(e execution, answer []frame) (all []execution) {
	all = []execution{e}
	for _, f := range answer {
		last := &all[len(all)-1]
		if f.kind() == 'E' {
			for i := range all {
				all[i].ending, all[i].state = failed, stateIn(f) // what fails in a text fails all of it
			}
			return all
		}
		if last.ending != unanswered && f.kind() != 'Z' {
			all = append(all, e)
			last = &all[len(all)-1]
		}
		last.read(f)
	}
	if slices.ContainsFunc(all, isCompleted) {
		all = slices.DeleteFunc(all, func(e execution) bool { return e.ending == empty })
	}
	return all
}

func isCompleted(e execution) bool { return e.ending == completed }

func (e *execution) read(f frame) {
	switch f.kind() {
	case 'D':
		if e.ending == unanswered {
			e.rows = append(e.rows, f.body())
		}
	case 'C':
		if e.ending == unanswered {
			e.ending, e.tag = completed, strings.TrimSuffix(f.body(), "\x00")
		}
	case 'I':
		if e.ending == unanswered {
			e.ending = empty
		}
		if len(e.rows) > 0 { // in a text of several, another command tag follows
			e.ending = completed
		}
	case 'E':
		e.ending = failed
		e.state += " " + stateIn(f)
	}
}

// readInOrder reads the answers to several statements under one Sync: they are told apart by what ends each of them.
// Where there are too many nothing is known of the last.
func readInOrder(request []execution, answer []frame) {
	i := 0
	for _, f := range answer {
		switch {
		case f.kind() == 'E':
			for i = min(i, len(request)-1); i < len(request); i++ { // at Sync it is the last one's
				request[i].ending, request[i].state = failed, stateIn(f)
			}
			return
		case i < len(request):
			request[i].read(f)
			if request[i].ending != unanswered {
				i++
			}
		case f.kind() == 'C', f.kind() == 'I':
			request[i-1].ending = unanswered
		}
	}
}

// stateIn is the SQLSTATE of an error, or all of them if it has more than one.
func stateIn(f frame) (state string) {
	for field := range strings.SplitSeq(f.body(), "\x00") {
		if strings.HasPrefix(field, "C") {
			state += " " + field[1:]
		}
	}
	return state
}

// cells takes a DataRow's body apart; nil stands for NULL. ok is false if it is malformed.
func cells(body string) (values [][]byte, ok bool) {
	if len(body) < 2 {
		return nil, false
	}
	n, rest := int(binary.BigEndian.Uint16([]byte(body))), []byte(body[2:])
	for range n {
		if len(rest) < 4 {
			return nil, false
		}
		size := int32(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		if size == -1 {
			values = append(values, nil)
			continue
		}
		if size < 0 || int(size) > len(rest) {
			return nil, false
		}
		values = append(values, bytes.Clone(rest[:size]))
		if size == 0 {
			values[len(values)-1] = []byte{}
		}
		rest = rest[size:]
	}
	return values, true
}

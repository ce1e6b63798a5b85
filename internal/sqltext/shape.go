package sqltext

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// shapeBytes bounds a shape.
const shapeBytes = 500

// hidden stands for what a shape leaves out.
const hidden = "…"

// Shape returns a text without its values and comments, so that it can be shown: literals, numbers and parameters are
// question marks, and a list of them is one. Of statements that don't read or write rows, in which a value may be a
// bare word, as in SET, it is no more than the first words. So it is of a text that can be read in more than one way,
// of which it is the verb alone.
//
// Names are shown, those in double quotes too.
func Shape(sql string) string {
	w := shaper{scanner: scanner{sql: sql}}
	if !utf8.ValidString(sql) || !w.write() {
		return verbOf(sql)
	}
	return w.bounded()
}

// verbOf returns the first word of a text, if it is one that a statement begins with, and leaves out the rest.
func verbOf(sql string) string {
	s := scanner{sql: sql}
	if verb := s.firstWord(); !s.odd && isVerb(verb) {
		return verb + " " + hidden
	}
	return hidden
}

// verbsOfRows begin the statements that are shown whole.
var verbsOfRows = []string{
	"select", "with", "values", "table", "insert", "upsert", "update", "delete", "merge", "fetch", "move", "declare",
}

func isVerb(word string) bool {
	if isOneOf(word, verbsOfRows...) {
		return true
	}
	for _, e := range byFirstWord[min(len(word), len(byFirstWord)-1)] {
		if isKeyword(word, e.word) {
			return true
		}
	}
	return isOneOf(word, "lock", "notify", "unlisten", "close", "cancel", "export")
}

// A shaper writes a shape.
type shaper struct {
	scanner
	out []byte
}

// put writes text, or as much of it as there may be.
func (w *shaper) put(text string) {
	w.out = append(w.out, text[:min(len(text), shapeBytes)]...)
}

func (w *shaper) isFull() bool { return len(w.out) > shapeBytes }

// bounded returns what was written, and ends it with a sign if it is too long.
func (w *shaper) bounded() string {
	if !w.isFull() {
		return string(w.out)
	}
	end := shapeBytes
	for !utf8.RuneStart(w.out[end]) {
		end--
	}
	return string(w.out[:end]) + hidden
}

// write writes the shape. It returns false if the text can be read in more than one way.
func (w *shaper) write() bool {
	for first := true; !w.isFull() && w.toStatement(); first = false {
		if !first {
			w.put("; ")
		}
		one := w.scanner
		if verb := one.firstWord(); verb == "" || isOneOf(verb, verbsOfRows...) {
			w.writeWhole()
		} else {
			w.writeHead(verb)
		}
	}
	return !w.odd && !w.open
}

// writeHead writes the first words of a statement, which name what it is about, and goes past its end.
func (w *shaper) writeHead(verb string) {
	if !isVerb(verb) {
		w.cutOff()
		return
	}
	w.next()
	w.put(w.text())
	left := 2
	if isOneOf(verb, "set", "reset") {
		left = 1 // SET a TO b, where b is a word
	}
	for glued := false; ; {
		token := w.next()
		name := token == tokenName || token == tokenWord && !isDigit(w.text()[0])
		switch {
		case token == tokenEnd, token == tokenSemicolon, w.isFull():
			return
		case name && glued:
			glued = false
			w.put(w.text())
		case name && left > 0:
			w.put(" " + w.text())
			if !isOneOf(w.text(), "session", "local") {
				left--
			}
		case w.text() == ".":
			glued = true
			w.put(".")
		default:
			w.cutOff()
			return
		}
	}
}

// cutOff leaves out the rest of the statement.
func (w *shaper) cutOff() {
	if len(w.out) > 0 {
		w.put(" ")
	}
	w.put(hidden)
	w.toEnd()
}

// writeWhole writes all of a statement but its values, and goes past its end.
func (w *shaper) writeWhole() {
	for first := true; ; first = false {
		before := w.pos
		token := w.next()
		switch {
		case token == tokenEnd, token == tokenSemicolon, w.isFull():
			return
		case token == tokenLiteral && !w.escapes && strings.IndexByte(w.text(), '\\') >= 0:
			w.odd = true // whether that escapes depends on the session's setting
			return
		}
		if w.start > before && !first {
			w.put(" ")
		}
		switch {
		case token == tokenLiteral, token == tokenParameter, token == tokenWord && isValue(w.text()):
			w.writeValue()
		case token == tokenOther && w.text() == ")":
			w.put(")")
			w.joinRows()
		default:
			w.put(w.text())
		}
	}
}

func isValue(word string) bool { return isDigit(word[0]) || isOneOf(word, "true", "false") }

// writeValue writes a value, or makes it one with those before it in a list, and 1.5 one value.
func (w *shaper) writeValue() {
	for _, before := range []string{"?, ", "?,", "?."} {
		if w.cut(before) {
			break
		}
	}
	w.put("?")
}

// joinRows makes a row of values one with that before it.
func (w *shaper) joinRows() {
	if w.cut("(?), (?)") || w.cut("(?),(?)") {
		w.put("(?)")
	}
}

// cut takes the end off what was written, if it is this.
func (w *shaper) cut(end string) bool {
	text, ok := bytes.CutSuffix(w.out, []byte(end))
	w.out = text
	return ok
}

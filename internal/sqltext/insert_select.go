package sqltext

import (
	"slices"
	"strconv"
)

// A SELECT whose rows are pinned has a list, and nothing else but a source, which has a list alone. Its rows are those
// of the arrays that its list unnests, in lockstep, or one. The arrays are parameters, so that a replay has as many
// rows; and whatever else could make rows, or join them together, is left alone: queries, and functions that are not
// among a few. What is pinned is another array in the same list, of which the source's SELECT reads a column.

// item is an expression in the list of a SELECT, without the name that it is given.
type item struct {
	start, end int
	makes      bool // it has the database make the value, of nothing but itself and the source,
	draws      bool // by drawing it from a sequence
	parameters bool // it has parameters
}

// pinLabel begins the names of columns that a source is given.
const pinLabel = "cockroachdb_pin_"

// inSource writes the pinned values into the list of the source.
func (w *pinWriter) inSource() {
	w.upTo(w.in.source)
	for column := range w.columns {
		w.out.WriteString(", ")
		w.array(column)
		w.out.WriteString(" AS " + pinLabel + strconv.Itoa(column))
	}
}

// selection writes the list of the SELECT.
func (w *pinWriter) selection() {
	for i, it := range w.in.items {
		if column := slices.Index(w.columns, w.in.columns[i]); column >= 0 && it.makes {
			w.upTo(it.start)
			w.item(column)
			w.copied = it.end
		}
	}
	w.upTo(w.in.end)
	for column, name := range w.columns {
		if !slices.Contains(w.in.columns, name) {
			w.out.WriteString(", ")
			w.item(column)
		}
	}
}

func (w *pinWriter) item(column int) {
	if w.in.source > 0 {
		w.out.WriteString(pinLabel + strconv.Itoa(column))
		return
	}
	w.array(column)
}

func (w *pinWriter) array(column int) {
	w.out.WriteString("unnest(ARRAY[")
	for row := range w.rows {
		if row > 0 {
			w.out.WriteString(", ")
		}
		w.parameter(row, column)
	}
	w.out.WriteString("]::" + w.types[column] + "[])")
}

// source reads what the SELECT reads from, if that stands before the INSERT.
func (p *insertParser) source() bool {
	if !p.isNextWord("with") {
		return true
	}
	name := p.name()
	if name == "" || !p.keyword("as") || !p.isNext('(') || !p.keyword("select") || p.selection() == nil {
		return false
	}
	p.from, p.in.source = name, p.pos
	return p.isNext(')')
}

// selects reads the SELECT that has the rows.
func (p *insertParser) selects() bool {
	p.in.Selects = true
	p.in.items = p.selection()
	p.in.end = p.pos
	return len(p.in.items) == len(p.in.columns) && (p.from == "" || p.keyword("from") && p.name() == p.from)
}

// selection reads the list of a SELECT; nil if it is not understood.
func (p *insertParser) selection() (items []item) {
	for {
		it, ok := p.item()
		if !ok || p.isNextWord("as") && p.name() == "" {
			return nil
		}
		if items = append(items, it); !p.isNext(',') {
			return items
		}
	}
}

// before is what comes before a token of an expression.
type before struct {
	kind    token // tokenEnd if nothing does
	text    string
	earlier string // the token before that
}

// item reads an expression of a list.
func (p *insertParser) item() (it item, ok bool) {
	var last before
	for depth := 0; ; {
		start := p.scanner
		p.next()
		if depth == 0 && p.endsItem() {
			p.scanner = start
			it.makes = it.makes && !it.parameters
			return it, last.kind != tokenEnd
		}
		if last.kind == tokenEnd {
			it.start = p.start
		}
		opened, ok := p.part(&it, last)
		if depth += opened; !ok || depth < 0 {
			return it, false
		}
		last = before{p.token, p.text(), last.text}
		it.end = p.pos
	}
}

// part takes note of a token of an expression. It returns how many parentheses and brackets more are open after it; and
// false if it is not understood.
func (p *insertParser) part(it *item, last before) (opened int, ok bool) {
	text := p.text()
	if p.endsInsert(p.token, text) || p.hasOtherRows(last.text) {
		return 0, false
	}
	switch p.token {
	case tokenParameter:
		it.parameters = true
	case tokenWord:
		it.makes = it.makes || isOneOf(text, clocks...)
	case tokenOther:
		switch {
		case text == "(" && (last.kind == tokenWord || last.kind == tokenName):
			return p.call(it, last)
		case text == "(", text == "[":
			return 1, true
		case text == ")", text == "]":
			return -1, true
		}
	}
	return 0, true
}

// endsItem reports whether the token comes after an expression of a list.
func (p *insertParser) endsItem() bool {
	if p.token == tokenWord {
		return isOneOf(p.text(), "as", "from", "on", "returning")
	}
	return p.token == tokenOther && (p.text() == "," || p.text() == ")")
}

// hasOtherRows reports whether the token may have the list make other rows, or read all columns of the source. A name
// may be written as U&"…", whatever it is.
func (p *insertParser) hasOtherRows(last string) bool {
	switch p.token {
	case tokenWord:
		return isOneOf(p.text(), listWords...) || p.named() == p.from && p.from != ""
	case tokenName:
		return p.named() == "" || p.named() == p.from
	}
	return p.text() == "*" || p.text() == "&" && isKeyword(last, "u")
}

// listWords are those that make more of a list than expressions.
var listWords = []string{
	"select", "values", "table", "with", "from", "where", "group", "having", "window", "union", "intersect", "except",
	"minus", "order", "limit", "offset", "fetch", "for", "into", "distinct", "all", "over", "filter", "within",
	"default", "exists", "as", "on", "returning", "only",
}

// call takes note of an opening parenthesis after a name, and goes past the closing one if it is an array that is
// unnested. It returns false unless the name is a word that is known to call nothing that makes several rows of one, or
// one of several.
func (p *insertParser) call(it *item, last before) (opened int, ok bool) {
	word := last.text
	switch {
	case last.kind != tokenWord || last.earlier == ".":
		return 0, false
	case isKeyword(word, "unnest"):
		it.parameters = true
		return 0, p.from == "" && p.array()
	case isKeyword(word, "nextval"):
		it.makes, it.draws = true, true
	case isOneOf(word, generators...), isOneOf(word, clockFunctions...), isOneOf(word, clocks...):
		it.makes = true
	default:
		return 1, isOneOf(word, rowCalls...)
	}
	return 1, true
}

// rowCalls are words before a parenthesis that call nothing but what makes one value of one row's.
var rowCalls = []string{
	"coalesce", "nullif", "greatest", "least", "and", "or", "not", "in", "array", "row",
	"lower", "upper", "trim", "btrim", "ltrim", "rtrim", "length", "replace", "concat", "string_to_array",
	"array_to_string", "md5", "sha256", "encode", "decode", "abs", "round", "to_json", "to_jsonb",
	"numeric", "decimal", "varchar", "char", "character", "varying", "bpchar", "bit", "varbit", "string", "float",
	"time", "timetz", "timestamp", "timestamptz",
}

// array reads the rest of unnest($1) or unnest($1::type[]).
func (p *insertParser) array() bool {
	if p.next() != tokenParameter || !p.parameter() {
		return false
	}
	if p.isNext(')') {
		return true
	}
	for range len("::") {
		if !p.isNext(':') {
			return false
		}
	}
	for !p.isNext('[') {
		if !p.isNext('.') && p.name() == "" {
			return false
		}
	}
	return p.isNext(']') && p.isNext(')')
}

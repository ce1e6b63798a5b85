package crdbmodel

// An expr is a number, a parameter, a column or an operation on others. Booleans are 1 and 0.
type expr struct {
	op    string // "number", "parameter", "column", "case", "not", or an operator
	n     int64  // the number, or the parameter's, from 1
	name  string // of the column
	parts []*expr
}

// An env is what an expr is evaluated in.
type env struct {
	columns []column
	values  []int64
	params  []int64
}

// find returns the index of a column. It panics with a failure if there is none: see [recovered].
func find(columns []column, name string) int {
	for i, c := range columns {
		if c.name == name {
			return i
		}
	}
	panic(fail("42703", "column \""+name+"\" does not exist"))
}

func (x *expr) eval(v env) int64 {
	switch x.op {
	case "number":
		return x.n
	case "parameter":
		return v.params[x.n-1]
	case "column":
		return v.values[find(v.columns, x.name)]
	case "not":
		return 1 - x.parts[0].eval(v)
	case "and":
		return x.parts[0].eval(v) & x.parts[1].eval(v)
	case "case": // WHEN parts[0] THEN parts[1] ELSE parts[2]
		if x.parts[0].eval(v) == 1 {
			return x.parts[1].eval(v)
		}
		return x.parts[2].eval(v)
	}
	return operate(x.op, x.parts[0].eval(v), x.parts[1].eval(v))
}

func operate(op string, l, r int64) int64 {
	truth := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	switch op {
	case "+":
		return l + r
	case "-":
		return l - r
	case "*":
		return l * r
	case "%":
		if r == 0 {
			panic(fail("22012", "division by zero"))
		}
		return l % r
	case "=":
		return truth(l == r)
	case "<>":
		return truth(l != r)
	case "<":
		return truth(l < r)
	default: // the parser knows no more than this
		return truth(l > r)
	}
}

// holds reports whether a condition, or none, is met.
func (x *expr) holds(v env) bool { return x == nil || x.eval(v) == 1 }

// comparisons calls do for each comparison of a column with something else that must hold for the condition x to hold.
func (x *expr) comparisons(do func(op, column string, with *expr)) {
	switch {
	case x == nil:
	case x.op == "and":
		x.parts[0].comparisons(do)
		x.parts[1].comparisons(do)
	case len(x.parts) == 2 && x.parts[0].op == "column":
		do(x.op, x.parts[0].name, x.parts[1])
	}
}

// equals finds the value that a condition asks of a column, if it is a number or a parameter.
func (x *expr) equals(name string, v env) (value int64, found bool) {
	x.comparisons(func(op, column string, with *expr) {
		if op == "=" && column == name && (with.op == "number" || with.op == "parameter") {
			value, found = with.eval(v), true
		}
	})
	return value, found
}

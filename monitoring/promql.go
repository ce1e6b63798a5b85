package monitoring

import (
	"fmt"
	"strings"

	"github.com/VictoriaMetrics/metricsql"
)

// Operands gives the parts of a rule's expression that come back with data whether or not the alert is firing: the two
// sides of each comparison, of and, or and unless. Numbers among them are left out. An expression without any of these
// is its only operand.
func Operands(expr string) ([]string, error) {
	parsed, err := parse(expr)
	if err != nil {
		return nil, err
	}
	return operands(parsed), nil
}

func operands(e metricsql.Expr) []string {
	switch e := e.(type) {
	case *metricsql.NumberExpr:
		return nil
	case *metricsql.BinaryOpExpr:
		switch strings.ToLower(e.Op) {
		case "==", "!=", "<", "<=", ">", ">=", "and", "or", "unless":
			return append(operands(e.Left), operands(e.Right)...)
		}
	}
	return []string{string(e.AppendString(nil))}
}

// A Selector is a metric's name with what is asked of its labels.
type Selector struct {
	Metric string
	Labels []Matcher
}

// A Matcher is a label with the value, or the regular expression, that it is held against.
type Matcher struct{ Label, Value string }

// Names are what an expression calls for: selectors, and labels by which it groups or joins.
type Names struct {
	Selectors []Selector
	Labels    []string
}

// NamesIn finds all names in an expression.
func NamesIn(expr string) (Names, error) {
	var n Names
	parsed, err := parse(expr)
	if err != nil {
		return n, err
	}
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		switch e := e.(type) {
		case *metricsql.MetricExpr:
			for _, filters := range e.LabelFilterss {
				var s Selector
				for _, f := range filters {
					if f.Label == "__name__" {
						s.Metric = f.Value
					} else {
						s.Labels = append(s.Labels, Matcher{f.Label, f.Value})
					}
				}
				n.Selectors = append(n.Selectors, s)
			}
		case *metricsql.AggrFuncExpr:
			n.Labels = append(n.Labels, e.Modifier.Args...)
		case *metricsql.BinaryOpExpr:
			n.Labels = append(append(n.Labels, e.GroupModifier.Args...), e.JoinModifier.Args...)
		}
	})
	return n, nil
}

func parse(expr string) (metricsql.Expr, error) {
	parsed, err := metricsql.Parse(expr)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", expr, err)
	}
	return parsed, nil
}

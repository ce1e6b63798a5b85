// Package reliability holds what proves the driver's promise from outside: random programs held against a model,
// histories held against a checker, planted bugs that show that the checkers see them, and the soak that runs them
// under faults for as long as it is told. It is a module of its own, so that the driver does not depend on what these
// need.
package reliability

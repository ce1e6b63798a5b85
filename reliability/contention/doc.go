// Package contention holds a test only: that the model of CockroachDB's concurrency control, internal/crdbmodel, is
// serializable, as far as the checker of package history can tell. What is measured on a model that loses updates
// means nothing.
package contention

// Package compat holds the libraries that people use with database/sql against the driver. It has only tests, one file
// for each library: the code that a user writes, a transaction that loses a conflict and succeeds unseen, and an error
// of a constraint as that library expects it. docs/ecosystem.md is the table of them, and is held against these files.
//
// The packages below are what sqlc and ent have generated from their sources, which lie beside it.
package compat

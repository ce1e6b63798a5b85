// Package ent is what ent has generated from the schema in the folder schema.
package ent

// The tool wants modules that nothing else needs; tidy takes them out again.
//go:generate sh -c "go run -mod=mod entgo.io/ent/cmd/ent generate ./schema && rm -r enttest && go mod tidy"

// Package cockroachdb is a database/sql driver for CockroachDB that retries transactions by itself.
package cockroachdb

// Package sqlcbank is what sqlc makes of schema.sql and query.sql in its default mode, database/sql with lib/pq's
// arrays.
package sqlcbank

//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate

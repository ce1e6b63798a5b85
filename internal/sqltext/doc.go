// Package sqltext reads SQL as CockroachDB, PostgreSQL and pgx read it, as far as the driver has to know what a text
// may do. It knows nothing of connections and transactions.
//
// [Classify] answers, once for each text, all that the driver asks of it. [Interpolate] writes arguments into a text.
package sqltext

// Package wire sends statements over a connection of pgx's, several under one Sync where that saves a round trip, and
// reads their answers. It knows what a statement is, what the server has prepared, and how far a message has got. It
// knows nothing of transactions.
package wire

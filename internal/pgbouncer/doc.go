// Package pgbouncer starts a real PgBouncer for a test, in front of a PostgreSQL or of anything that speaks its
// protocol.
//
// The program is the one on the PATH, in /usr/sbin, or the one that tools/install-pgbouncer has put into
// .cache/pgbouncer.
package pgbouncer

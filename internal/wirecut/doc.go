// Package wirecut stands between a PostgreSQL client and its server, as a net.Conn or as a relay, and breaks the
// connection at a message that a test chooses.
//
// It knows where messages begin and end, in both directions, and numbers them from the moment it is armed. A cut says
// what has become of a message when the connection breaks: it was not sent, half of it was, or all of it was and the
// server has handled it; or, of the server's, half of it has arrived or all. Nothing depends on time: before the
// client learns that its connection is gone the server has handled what it was to get, and has ended the session.
package wirecut

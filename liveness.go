package cockroachdb

import (
	"crypto/tls"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

var errClosedByServer = errors.New("the connection is closed")

// alive looks, without waiting, whether the server has closed the connection or is about to. It costs a system call, no round
// trip. It can't see a server or a network that died in silence; the next statement finds out about those.
func alive(pg *pgconn.PgConn) bool {
	conn := pg.Conn()
	encrypted := false
	if t, ok := conn.(*tls.Conn); ok {
		conn, encrypted = t.NetConn(), true
	}
	return peek(conn, encrypted)
}

// unsolicited says whether first, the first byte of what the server sent without having been asked, leaves the connection
// usable: a notice, a notification, or a parameter's new value. An error, which a draining server sends, is the end.
func unsolicited(first byte) bool {
	return first == 'N' || first == 'A' || first == 'S'
}

package pgerr

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// PgBouncer has one SQLSTATE, 08P01, for nearly all the reasons for which it hangs up on a client, so its words have to
// tell them apart. These are the words of version 1.18, and of its source since. What is not listed is an end that
// somebody wanted, such as "query timeout", "idle transaction timeout" and "database removed"; or a message that
// PgBouncer did not understand.

// serverLost is what PgBouncer says to a client in the midst of its work, whose server connection is closed then.
var serverLost = []string{
	"server conn crashed?",
	"server connection closed", // it found out while it passed on what the client had sent
	"suspend_timeout",          // PgBouncer is being replaced by another process, and this client was not at rest in time
}

// noServer is what PgBouncer says to a client that waits for a server connection: nothing that it has sent after the
// latest ReadyForQuery has reached a server. PgBouncer goes down, or the server is away, or all connections are in use.
var noServer = []string{"server shutting down", "query_wait_timeout"}

// loginFails begins what it says to a client that needs a server connection while the server lets nobody in.
const loginFails = "server login has been failing"

// poolerHasLost reports whether answer is a pooler's word that it has lost the server, that it has none, or that it
// goes down itself.
func poolerHasLost(answer *pgconn.PgError) bool {
	return isOfPooler(answer) && (slices.Contains(serverLost, answer.Message) || hasNoServer(answer.Message))
}

// NeverSent reports whether err is a pooler's word that it had no server to pass a statement on to.
func NeverSent(err error) bool {
	answer := Answer(err)
	return isOfPooler(answer) && hasNoServer(answer.Message)
}

// RefusesAtOnce reports whether err is a pooler's word that the server lets nobody in: it says so without a wait to all
// who ask within the time in which it does not try again itself.
func RefusesAtOnce(err error) bool {
	answer := Answer(err)
	return isOfPooler(answer) && strings.HasPrefix(answer.Message, loginFails)
}

func hasNoServer(message string) bool {
	return slices.Contains(noServer, message) || strings.HasPrefix(message, loginFails)
}

// isOfPooler reports whether answer may be a pooler's own: a server names the place in its source, a pooler does not.
func isOfPooler(answer *pgconn.PgError) bool {
	return answer != nil && answer.Code == ProtocolViolation && IsFatal(answer) && answer.Routine == ""
}

package faultmatrix_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/liveness"
	"github.com/reprise-go/cockroachdb/internal/wirecut"
)

// realSockets is what follows the name of a dialect whose connections are the system's own. Of those the driver asks
// the system what the server has received.
const realSockets dialect = ", real sockets"

// server is the dialect without how it is reached.
func (m dialect) server() dialect {
	return dialect(strings.TrimSuffix(string(m), string(realSockets)))
}

func (m dialect) overSockets() bool { return m != m.server() }

func (m dialect) newWire(dial pgconn.DialFunc) *wirecut.Wire {
	if m.overSockets() {
		return wirecut.NewRelay(dial)
	}
	return wirecut.New(dial)
}

// atRest is when a fault strikes: when the server has answered and waits for the next request, or before.
type atRest int

const (
	alsoAtRest atRest = iota
	neverAtRest
	onlyAtRest
)

// mayBe reports whether a fault strikes at a message of this type.
func (r atRest) mayBe(message byte) bool {
	return r == alsoAtRest || (message == 'Z') == (r == onlyAtRest)
}

// socketFaults are those of real sockets. A server that ends a connection at rest leaves the next request in vain.
var socketFaults = []*fault{
	conflictFault,
	{name: "reset in sending", side: wirecut.Client, how: wirecut.Before},
	{name: "ended in sending", side: wirecut.Client, how: wirecut.Half},
	{name: "ended after handling", side: wirecut.Client, how: wirecut.After},
	{name: "ended in the answer", side: wirecut.Server, how: wirecut.Half},
	{name: "ended amid answers", side: wirecut.Server, how: wirecut.After, rest: neverAtRest},
	{name: "ended at rest", side: wirecut.Server, how: wirecut.After, rest: onlyAtRest},
	{name: "ended with a word", side: wirecut.Server, how: wirecut.LastWord, rest: onlyAtRest},
}

func (m dialect) faults() []*fault {
	if m.overSockets() {
		return socketFaults
	}
	return matrixFaults
}

// TestFaultMatrix_RealSockets is TestFaultMatrix for connections of which the driver can ask the system.
func TestFaultMatrix_RealSockets(t *testing.T) {
	t.Parallel()
	requireReceipts(t)
	runByGolden(t, socketVariants(), "testdata/real_sockets.golden")
}

// requireReceipts skips the test where the system does not tell what was received.
func requireReceipts(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	if !liveness.TellsUnacknowledged(conn.(*net.TCPConn)) {
		t.Skip("this system does not tell what the other side has received: that takes Linux 4.14")
	}
}

// socketVariants are the variants of the other tests, and those of restingTransactions.
func socketVariants() (all []*variant) {
	add := func(p transaction, m dialect, sloppy bool) {
		all = append(all, &variant{p, m + realSockets, sloppy, len(all)})
	}
	for _, s := range slices.Concat(variants(), newerVariants(), markedVariants()) {
		if !s.dialect.learnsLocks() {
			add(s.transaction, s.dialect, s.sloppy)
		}
	}
	for _, p := range restingTransactions {
		for _, m := range []dialect{ofCockroachDB, ofPostgreSQL} {
			add(p, m, false)
		}
	}
	return all
}

// judgeVain says what is wrong with a case in which a server ends at rest. The next request is sent in vain, and its
// outcome is known: that it was not carried out. So the application notices nothing, unless it can't go on elsewhere.
func (tr matrixCase) judgeVain(r *result, v ending) error {
	n := len(tr.strikes)
	unseen := v == doneOnce && !r.failed
	switch {
	case n == 0, tr.strikes[n-1].rest != onlyAtRest, unseen:
		return nil
	case tr.partly != nil && isAmbiguous(r.err): // a part is committed
		return nil
	case tr.stays != nil && tr.stays(tr.dialect) && !isAmbiguous(r.err):
		return nil
	}
	_, err := r.wrong("a server that ends at rest is noticed")
	return err
}

package cost_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/cannedpg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// pgproto3 reads 8 KB at once, and 10,000 rows of a number have 190 KB.
func TestCost_ManyRowsRead_AreReadInPiecesOf32KB(t *testing.T) {
	srv := cannedpg.Start(t, cannedReplies)
	reads := new(atomic.Int64)
	db := kit.Open(t, srv.DSN(), func(cfg *cockroachdb.Config) {
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := srv.Dial(ctx, network, addr)
			return countingReads{conn, reads}, err
		}
	})
	db.SetMaxOpenConns(1)
	read := func() int64 {
		before := reads.Load()
		readEvery(db, cannedMany, func(err error) { t.Fatal(err) })
		return reads.Load() - before
	}

	read() // which connects, and has the text described
	assert.LessOrEqual(t, read(), int64(7))
}

type countingReads struct {
	net.Conn
	n *atomic.Int64
}

func (c countingReads) Read(p []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Read(p)
}

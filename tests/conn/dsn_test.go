package conn_test

import (
	"database/sql"
	"database/sql/driver"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A guard is a server that lets in whoever knows the password, and answers pings.
type guard struct {
	net.Listener
	mu       sync.Mutex
	password string
}

func newGuard(t *testing.T) *guard {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &guard{Listener: ln}
	var clients sync.WaitGroup
	clients.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			clients.Go(func() {
				defer c.Close()
				g.serve(c)
			})
		}
	})
	t.Cleanup(clients.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	return g
}

func (g *guard) serve(c net.Conn) {
	b := pgproto3.NewBackend(c, c)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
		return
	}
	m, err := b.Receive()
	if err != nil {
		return
	}
	if p, ok := m.(*pgproto3.PasswordMessage); !ok || p.Password != g.changed("") {
		b.Send(kit.Fatal("28P01", "password authentication failed").Err)
		_ = b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	for err == nil {
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if b.Flush() != nil {
			return
		}
		if _, err = b.Receive(); err == nil {
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")})
		}
	}
}

// changed returns the password, after it was changed to another one, if that is not "".
func (g *guard) changed(to string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if to != "" {
		g.password = to
	}
	return g.password
}

// Where a password may be, apart from the DSN, is read for every new connection: one that is changed takes effect
// without a restart.
func TestDSN_PasswordChanged_NewConnectionsHaveIt(t *testing.T) {
	withoutDefaults(t)
	file := filepath.Join(t.TempDir(), "file")
	write := func(before, after string) func(t *testing.T, password string) {
		return func(t *testing.T, password string) {
			t.Helper()
			require.NoError(t, os.WriteFile(file, []byte(before+password+after), 0o600))
		}
	}
	for name, tc := range map[string]struct {
		query string
		tell  func(t *testing.T, password string)
	}{
		"passfile":     {"&passfile=" + file, write("*:*:*:app:", "\n")},
		"service file": {"&service=bank&servicefile=" + file, write("[bank]\npassword=", "\n")},
		"PGPASSWORD":   {"", func(t *testing.T, password string) { t.Helper(); t.Setenv("PGPASSWORD", password) }},
	} {
		for _, by := range []string{"cockroachdb", "by Open alone"} {
			t.Run(name+"/"+by, func(t *testing.T) {
				g := newGuard(t)
				g.changed("old")
				tc.tell(t, "old")
				db := kit.OpenBy(t, by, "postgresql://app@"+g.Addr().String()+"/bank?sslmode=disable"+tc.query)
				db.SetMaxIdleConns(0)
				require.NoError(t, db.PingContext(t.Context()))
				g.changed("new")
				kit.WantCodeWithin(t, db.PingContext(t.Context()), "28P01")
				tc.tell(t, "new")
				assert.NoError(t, db.PingContext(t.Context()))
			})
		}
	}
}

// openOnly is a driver around this one that knows Open alone.
type openOnly struct{ driver.Driver }

func init() { sql.Register("by Open alone", openOnly{&cockroachdb.Driver{}}) }

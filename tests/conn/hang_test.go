package conn_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A hanging connection leads to a process that hangs: it takes what is sent, and answers nothing.
type hanging struct {
	net.Conn
	hangs *atomic.Bool
}

func (h hanging) Write(b []byte) (int, error) {
	if h.hangs.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}

// A hang is found out by the ping, before something is sent that may be run only once.
func TestHang_WhileIdle_StatementRunsOnAnother(t *testing.T) {
	t.Parallel()
	for what, call := range calls {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var hangs atomic.Bool
			var dials atomic.Int32
			kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
				require.NoError(t, r.PingContext(t.Context()))
				hangs.Store(true)
				time.Sleep(1200 * time.Millisecond)
				began := time.Now()
				require.NoError(t, call(t.Context(), r.DB))
				assert.Equal(t, 20*time.Second, time.Since(began))
				assert.Equal(t, 2, r.Connections())
			}, "dead_peer_timeout=20s", func(cfg *cockroachdb.Config) {
				dial := cfg.ConnConfig.DialFunc
				cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := dial(ctx, network, addr)
					if dials.Add(1) == 1 {
						return hanging{conn, &hangs}, err
					}
					return conn, err
				}
			})
		})
	}
}

func TestHang_AtTheLogin_NextHostIsTried(t *testing.T) {
	t.Parallel()
	for params, bound := range map[string]time.Duration{
		"dead_peer_timeout=20s": 20 * time.Second, "dead_peer_timeout=20s&connect_timeout=40": 40 * time.Second,
	} {
		t.Run(params, func(t *testing.T) {
			t.Parallel()
			var hangs atomic.Bool
			hangs.Store(true)
			kit.InBubble(t, nil, func(t *testing.T, r *kit.Rig) {
				kit.Exec(t, r.DB, "UPDATE a")
				assert.Equal(t, bound, time.Since(r.Started))
				assert.Equal(t, 1, r.Connections())
			}, params, func(cfg *cockroachdb.Config) {
				cfg.BalanceHosts = false
				cc, dial := cfg.ConnConfig, cfg.ConnConfig.DialFunc
				cc.Fallbacks = append(cc.Fallbacks, &pgconn.FallbackConfig{Host: cc.Host, Port: cc.Port + 1})
				cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := dial(ctx, network, addr)
					if strings.HasSuffix(addr, ":26257") {
						return hanging{conn, &hangs}, err
					}
					return conn, err
				}
			})
		})
	}
}

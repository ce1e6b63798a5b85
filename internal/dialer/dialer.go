// Package dialer opens the sockets of connections, such that a peer that goes silent is found out.
package dialer

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// New returns a dial function. Each dial may take connect; zero means no bound but the context's.
//
// A TCP socket notices within about dead that its peer has gone silent, whether it is idle or has sent something:
// then reading and writing fail. While it is idle it is keepalive probes that find out, to the second. While what was
// sent is not acknowledged it is TCP_USER_TIMEOUT, which only Linux has; it bounds the dial as well, and also ends a
// connection whose peer acknowledges but has not read for as long. If dead is zero, sockets are as [net.Dialer] makes
// them.
//
// The function is safe for concurrent use.
func New(connect, dead time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: connect}
	if dead > 0 {
		d.KeepAliveConfig = keepAlive(dead)
		d.ControlContext = func(_ context.Context, network, _ string, c syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			return setUserTimeout(c, dead)
		}
	}
	return d.DialContext
}

// keepAlive returns the probes that find a silent peer within about dead. Systems count in whole seconds.
func keepAlive(dead time.Duration) net.KeepAliveConfig {
	idle := seconds(dead / 2)
	interval := seconds(dead / 6)
	return net.KeepAliveConfig{
		Enable:   true,
		Idle:     idle,
		Interval: interval,
		Count:    max(1, int((dead-idle+interval-1)/interval)),
	}
}

// seconds rounds d up to whole seconds, and to one at least.
func seconds(d time.Duration) time.Duration {
	return max(time.Second, (d + time.Second - 1).Truncate(time.Second))
}

// A Lookup finds the addresses of a name.
type Lookup = func(ctx context.Context, name string) ([]string, error)

// Shuffled wraps a function that looks up the addresses of a name: they come in random order, so that the hosts behind
// one name share the connections.
func Shuffled(lookup Lookup) Lookup {
	return func(ctx context.Context, name string) ([]string, error) {
		found, err := lookup(ctx, name)
		addrs := slices.Clone(found)
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
		return addrs, err
	}
}

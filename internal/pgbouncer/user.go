//go:build unix

package pgbouncer

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// ordinaryUser returns whom PgBouncer runs as where this process is root, which it refuses to run as; nil elsewhere.
// It is who internal/engine runs PostgreSQL as, so that PgBouncer can reach PostgreSQL's socket.
func ordinaryUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseInt(u.Uid, 10, 64)
		gid, err2 := strconv.ParseInt(u.Gid, 10, 64)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PgBouncer can't run as root, and there is no user postgres or nobody to run it as: " +
		"run as an ordinary user")
}

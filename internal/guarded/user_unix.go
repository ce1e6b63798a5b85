//go:build unix

package guarded

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// OrdinaryUser is who servers run as where this process is root; nil where it isn't.
func OrdinaryUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		// macOS gives nobody the number -2.
		uid, err1 := strconv.ParseInt(u.Uid, 10, 64)
		gid, err2 := strconv.ParseInt(u.Gid, 10, 64)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("a server can't run as root, and there is no user postgres or nobody to run it as: run as an ordinary user")
}

func uid(as *syscall.Credential) int {
	if as == nil {
		return os.Geteuid()
	}
	return int(as.Uid)
}

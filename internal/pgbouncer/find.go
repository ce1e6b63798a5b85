//go:build unix

package pgbouncer

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNone is the error where there is no PgBouncer.
var ErrNone = errors.New("there is no pgbouncer, neither on the PATH nor in /usr/sbin nor in .cache/pgbouncer: " +
	"run tools/install-pgbouncer, or make pgbouncer")

// find returns the path of the program. Debian's package puts it where only root's PATH leads.
func find() (string, error) {
	for _, candidate := range []string{"pgbouncer", "/usr/sbin/pgbouncer", filepath.Join(fetched(), "pgbouncer")} {
		if program, err := exec.LookPath(candidate); err == nil {
			return program, nil
		}
	}
	return "", ErrNone
}

// fetched returns the folder into which tools/install-pgbouncer unpacks the program and its libraries: that of the
// repository which the test runs in. Outside of one it is a folder that does not exist.
func fetched() string {
	folder, err := os.Getwd()
	for err == nil && folder != filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "tools", "install-pgbouncer")); err == nil {
			break
		}
		folder = filepath.Dir(folder)
	}
	return filepath.Join(folder, ".cache", "pgbouncer")
}

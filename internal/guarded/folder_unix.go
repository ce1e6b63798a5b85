//go:build unix

package guarded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	folderPrefix = "reprise-engine-"
	newPrefix    = ".reprise-new-" // until the lock is held, when nobody else may judge a folder by it
	lockName     = "lock"

	// longestSocket is what macOS allows for the path of a unix socket; Linux allows four more.
	longestSocket = 103
)

// newFolder makes a folder for the user that servers run as, and holds a lock in it for as long as this process and
// its guard live. Folders that both have left behind go at the same time.
//
// A lock says more than a process number does: numbers are used again, and mean nothing between containers that share
// /tmp.
func newFolder(as *syscall.Credential) (string, *os.File, error) {
	parent, err := folderParent(as)
	if err != nil {
		return "", nil, err
	}
	removeStale(parent)
	made, err := os.MkdirTemp(parent, newPrefix)
	if err != nil {
		return "", nil, err
	}
	final := filepath.Join(parent, folderPrefix+strings.TrimPrefix(filepath.Base(made), newPrefix))
	lock, err := lockFolder(made)
	if err == nil && as != nil {
		err = os.Chown(made, int(as.Uid), int(as.Gid))
	}
	if err == nil {
		err = os.Rename(made, final)
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(made), lock.Close())
	}
	return final, lock, nil
}

// lockFolder fails if another process holds the lock.
func lockFolder(folder string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// removeStale removes the folders that nobody looks after, as far as it may. Should a PostgreSQL be running in one
// still, it notices within a minute that its files are gone and stops.
func removeStale(parent string) {
	folders, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*")) // the only error is a bad pattern
	for _, folder := range folders {
		lock, err := lockFolder(folder)
		if err != nil {
			continue // in use, or another user's
		}
		_ = os.RemoveAll(folder)
		lock.Close()
	}
}

// folderParent is the first of the usual places that the user may reach and whose name leaves room for a socket's.
func folderParent(as *syscall.Credential) (string, error) {
	candidates := slices.Compact([]string{os.TempDir(), "/tmp", "/var/tmp"})
	for _, parent := range candidates {
		socket := filepath.Join(parent, folderPrefix+"0123456789", ".s.PGSQL.5432")
		if len(socket) <= longestSocket && reachable(parent, as) {
			return parent, nil
		}
	}
	return "", fmt.Errorf("none of %s will do for the files of a server: set TMPDIR to a folder with a short name that user %d may enter",
		strings.Join(candidates, ", "), uid(as))
}

// reachable reports whether an ordinary user may enter a folder and all above it.
func reachable(folder string, as *syscall.Credential) bool {
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return false
	}
	for as != nil {
		info, err := os.Stat(folder)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if folder == filepath.Dir(folder) {
			break
		}
		folder = filepath.Dir(folder)
	}
	return true
}

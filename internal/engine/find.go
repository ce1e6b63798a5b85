package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// ErrNone is the error of Start and Find where there is nothing to run on.
var ErrNone = errors.New(`no database to run on. One of these is needed:
  - PostgreSQL, which is started for the run:
      Debian, Ubuntu:  sudo apt-get install postgresql
      macOS:           brew install postgresql@17
  - a cockroach on the PATH, which is started in memory for the run
  - COCKROACH_URL naming a CockroachDB to use, such as
      COCKROACH_URL='postgresql://root@localhost:26257/defaultdb?sslmode=disable'`)

// A finding is a server that can be used.
type finding interface {
	describe() string
	start(context.Context, Options) (*Engine, error)
}

// HasCockroach reports whether Start would use a CockroachDB, and not start PostgreSQL.
func HasCockroach(opts Options) bool { return !opts.PostgreSQL && findCockroach(opts.URL) != nil }

func find(opts Options) (finding, error) {
	if !opts.PostgreSQL {
		if found := findCockroach(opts.URL); found != nil {
			return found, nil
		}
	}
	if p, ok := findPostgres(); ok {
		return p, nil
	}
	return nil, ErrNone
}

// findCockroach is nil if there is none.
func findCockroach(url string) finding {
	if url != "" {
		return running{url: url, from: "the URL given"}
	}
	if url := os.Getenv("COCKROACH_URL"); url != "" {
		return running{url: url, from: "COCKROACH_URL"}
	}
	if binary, err := exec.LookPath("cockroach"); err == nil {
		return cockroach{binary: binary}
	}
	return nil
}

// postgresFolders are where Debian and Homebrew (on Apple's and on Intel's processors) keep the binaries, off the PATH.
var postgresFolders = []string{
	"/usr/lib/postgresql/*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
}

func findPostgres() (postgres, bool) {
	if p, ok := lookPostgres(exec.LookPath); ok {
		return p, true
	}
	for _, pattern := range postgresFolders {
		folders, _ := filepath.Glob(pattern) // the only error is a bad pattern
		slices.SortFunc(folders, func(a, b string) int { return version(b) - version(a) })
		for _, folder := range folders {
			look := func(name string) (string, error) { return exec.LookPath(filepath.Join(folder, name)) }
			if p, ok := lookPostgres(look); ok {
				return p, true
			}
		}
	}
	return postgres{}, false
}

func lookPostgres(look func(string) (string, error)) (p postgres, ok bool) {
	var err1, err2 error
	p.initdb, err1 = look("initdb")
	p.server, err2 = look("postgres")
	return p, err1 == nil && err2 == nil
}

var digits = regexp.MustCompile(`[0-9]+`)

// version is the number in the name of the folder above a bin; a name without one is Homebrew's link to the newest.
func version(bin string) int {
	n, err := strconv.Atoi(digits.FindString(filepath.Base(filepath.Dir(bin))))
	if err != nil {
		return 1 << 30
	}
	return n
}

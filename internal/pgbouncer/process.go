//go:build unix

package pgbouncer

import (
	"os"
	"path/filepath"

	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// startProcess runs program with a configuration.
func startProcess(program, configuration string) (*guarded.Server, error) {
	as, err := guarded.OrdinaryUser()
	if err != nil {
		return nil, err
	}
	copied := as != nil && filepath.Dir(program) == fetched() // the repository may be out of the user's reach
	run := program
	if copied {
		run = "./" + filepath.Base(program) // the folder is where it runs
	}
	return guarded.Start(guarded.Command{
		Signal: "KILL", Commands: `run "$1" "$folder/pgbouncer.ini"`, Args: []string{run}, Env: []string{libraries(run)},
		Prepare: func(folder string) error {
			if err := os.WriteFile(filepath.Join(folder, "pgbouncer.ini"), []byte(configuration), 0o644); err != nil {
				return err
			}
			if !copied {
				return nil
			}
			return os.CopyFS(folder, os.DirFS(fetched()))
		},
	})
}

// libraries leads program to the libraries that tools/install-pgbouncer has put beside it.
func libraries(program string) string { return "LD_LIBRARY_PATH=" + filepath.Dir(program) }

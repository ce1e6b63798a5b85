// Package mutants plants bugs in the driver, one at a time, and shows that the checkers of package history find each of them. A check
// that can't fail is worth nothing.
//
// A bug is a change of one place in one file of the driver. It is planted by the Go command's -overlay, so that nothing is copied and
// the sources stay as they are. Where the driver's text has moved on, so that a bug has no place any more, the tests say so: it has to
// follow.
package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// A Mutant is a bug to plant, and what the checkers must call its consequences.
type Mutant struct {
	Name     string
	File     string // of the driver
	Old, New string
	Finds    []history.Class
	On       string // the server whose manners show it; CockroachDB if empty
}

// overlay writes what -overlay wants into the folder dir, for the driver in the folder driver, and returns its path.
func (m Mutant) overlay(dir, driver string) (string, error) {
	file, err := filepath.Abs(filepath.Join(driver, m.File))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.Old); n != 1 {
		return "", fmt.Errorf("the text that %q changes is in %s %d times and must be there once: change the mutant as the driver has changed", m.Name, m.File, n)
	}
	mutated := filepath.Join(dir, m.File)
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutated}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}

package mutants

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/reliability/program"
)

const (
	patient = 10 * time.Minute // for one instrument; it takes seconds
	sample  = 6                // of so many bugs, one is planted where none is named
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// TestMutants has every instrument find its bugs, and nothing without a bug.
func TestMutants(t *testing.T) {
	t.Parallel()
	some := chosen(t)
	server := enginetest.NewDirectDB(t)
	t.Run("no bug", func(t *testing.T) {
		t.Parallel()
		w := workshop{server: server}
		for _, i := range distinct(some) {
			if i.Package == programs {
				continue // the random programs are run without a bug, and for longer, by their own tests
			}
			output, err := w.run(t, i)
			require.NoError(t, err, "%s: %s", i.name(), output)
			assert.NotContains(t, output, "anomaly:", i.name())
		}
	})
	for _, m := range some {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := m.overlay(t.TempDir(), driver)
			require.NoError(t, err)
			w := workshop{server: server, overlay: overlay}
			for _, i := range m.Found {
				output, err := w.run(t, i)
				assert.NoError(t, i.found(output, err), output)
			}
		})
	}
}

// chosen are the bugs that MUTANT names; without it, a sample.
func chosen(t *testing.T) (some []Mutant) {
	t.Helper()
	pattern, named := os.LookupEnv("MUTANT")
	name, err := regexp.Compile(pattern)
	require.NoError(t, err)
	for n, m := range All {
		if named && name.MatchString(m.Name) || !named && n%sample == 0 {
			some = append(some, m)
		}
	}
	require.NotEmpty(t, some, "no bug is named like %q", pattern)
	return some
}

// TestEveryMutantHasItsPlace also looks at those that are not planted today.
func TestEveryMutantHasItsPlace(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for _, m := range All {
		assert.False(t, names[m.Name], "two bugs are called %q", m.Name)
		names[m.Name] = true
		assert.NotEmpty(t, m.Found, m.Name)
		_, err := m.overlay(t.TempDir(), driver)
		assert.NoError(t, err)
	}
}

// distinct are the instruments of these bugs, each once.
func distinct(some []Mutant) (all []Instrument) {
	seen := make(map[string]bool)
	for _, m := range some {
		for _, i := range m.Found {
			if !seen[i.key()] {
				all, seen[i.key()] = append(all, i), true
			}
		}
	}
	return all
}

// found says what is wrong with how an instrument has ended on a driver with a bug.
func (i Instrument) found(output string, err error) error {
	if _, exited := errors.AsType[*exec.ExitError](err); !exited {
		return fmt.Errorf("%s: the bug is planted and no test has failed: a check is missing", i.name())
	}
	if strings.Contains(output, "panic:") {
		return fmt.Errorf("%s: a panic finds nothing", i.name())
	}
	for _, says := range i.Says {
		if !strings.Contains(output, says) {
			return fmt.Errorf("%s: the bug is planted and not called by its name, which is %q", i.name(), says)
		}
	}
	isSaid := func(says string) bool { return strings.Contains(output, says) }
	if len(i.SaysAny) > 0 && !slices.ContainsFunc(i.SaysAny, isSaid) {
		return fmt.Errorf("%s: the bug is planted and called by none of its names, which are %q", i.name(), i.SaysAny)
	}
	return nil
}

// A workshop builds the tests of packages on a driver, each once, and runs them.
type workshop struct {
	server   string // of a database that the tests of package history share
	overlay  string // that plants a bug; "" for none
	binaries map[string]string
}

// run runs an instrument in the folder of its package. MUTANTS=TestRandom has package history look by its random runs:
// they find most, not all, and not each time.
func (w *workshop) run(t *testing.T, i Instrument) (string, error) {
	t.Helper()
	run := i.Run
	if i.Package == checks {
		run = strings.Replace(run, scenario, cmp.Or(os.Getenv("MUTANTS"), scenario), 1)
	}
	args := append([]string{"-test.v", "-test.run=" + run, "-test.timeout=" + patient.String()}, i.Flags...)
	c := exec.CommandContext(t.Context(), w.binary(t, i.Package), args...)
	c.Dir = i.Package
	c.Env = append(append(os.Environ(), "HISTORY_POSTGRES="+w.server), i.Env...)
	output, err := c.CombinedOutput()
	return string(output), err
}

// binary is the tests of a package.
func (w *workshop) binary(t *testing.T, folder string) string {
	t.Helper()
	if w.binaries[folder] != "" {
		return w.binaries[folder]
	}
	file := filepath.Join(t.TempDir(), "tests")
	c := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay="+w.overlay, "-ldflags=-s -w", "-o="+file, ".")
	c.Dir = folder
	output, err := c.CombinedOutput()
	require.NoError(t, err, string(output))
	if w.binaries == nil {
		w.binaries = make(map[string]string)
	}
	w.binaries[folder] = file
	return file
}

// TestAMutantMustHaveItsPlace: a bug that is planted nowhere would be found by no test, or by the wrong one.
func TestAMutantMustHaveItsPlace(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"not there", "func (t *tx) "} {
		_, err := Mutant{Name: "a bug", File: "commit.go", Old: old}.overlay(t.TempDir(), driver)
		assert.ErrorContains(t, err, "must be there once: change the mutant as the driver has changed")
	}
}

// TestAnInstrumentMustFind: what it says counts, not only that it fails.
func TestAnInstrumentMustFind(t *testing.T) {
	t.Parallel()
	i := Test("../program", "TestX", "anomaly: lost update:", "and more")
	failed := &exec.ExitError{}
	assert.NoError(t, i.found("anomaly: lost update: and more", failed))
	assert.ErrorContains(t, i.found("anomaly: lost update:", failed), `not called by its name, which is "and more"`)
	assert.ErrorContains(t, i.found("anomaly: lost update: and more, panic: no", failed), "a panic finds nothing")
	assert.ErrorContains(t, i.found("anomaly: lost update: and more", nil), "a check is missing")
	assert.ErrorContains(t, i.found("", exec.ErrNotFound), "a check is missing")
	either := Programs(program.CockroachDB, "keys", 1, program.Twice, program.Lost)
	assert.NoError(t, either.found("anomaly: lost commit:", failed))
	assert.ErrorContains(t, either.found("anomaly: phantom commit:", failed), "called by none of its names")
}

// TestInstruments looks at what each kind runs.
func TestInstruments(t *testing.T) {
	t.Parallel()
	all := distinct([]Mutant{{Found: []Instrument{
		Scenarios("lost update"), Scenarios("dirty read"), ScenariosOn("PostgreSQL", "dirty read"),
		Programs(program.NewerCockroachDB, "endings", 20, "committed twice"),
		Matrix("single write", "not as it was"), Test(driver, "TestParity"),
	}}})
	var names []string
	for _, i := range all {
		names = append(names, i.name())
	}
	assert.Equal(t, []string{
		"history TestScenario/CockroachDB", "history TestScenario/PostgreSQL",
		"program TestRandomPrograms/^CockroachDB_v25.4$ -topic=endings -rounds=20 -shrink=0s -kinds=committed twice",
		"faultmatrix ^TestFaultMatrix$ FAULT_MATRIX= single write", ".. ^TestParity$",
	}, names)
	assert.Equal(t, []string{"anomaly: committed twice:"}, all[2].SaysAny)
}

package mutants

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

const (
	driver  = "../.."
	checks  = "../history"
	patient = 4 * time.Minute // for one mutant; it takes seconds
)

// tests are those of package history that are run. MUTANTS=TestRandom shows which bugs the random runs find by themselves: most, not
// all, and not each time.
func (m Mutant) tests() string {
	return cmp.Or(os.Getenv("MUTANTS"), "TestScenario") + "/" + cmp.Or(m.On, "CockroachDB")
}

func TestMain(m *testing.M) { enginetest.Main(m) }

func TestMutants(t *testing.T) {
	t.Parallel()
	server := enginetest.NewDirectDB(t)
	t.Run("no bug", func(t *testing.T) {
		t.Parallel()
		output, err := Mutant{}.run(t, build(t, ""), server)
		require.NoError(t, err, output)
		assert.NotContains(t, output, "anomaly:")
	})
	for _, m := range All {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := m.overlay(t.TempDir(), driver)
			require.NoError(t, err)
			output, err := m.run(t, build(t, overlay), server)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "the bug is planted and no test has failed: a check is missing")
			require.NotContains(t, output, "panic:")
			for _, class := range m.Finds {
				assert.Contains(t, output, "anomaly: "+string(class)+":", "the bug is planted and not called by its name")
			}
			if t.Failed() {
				t.Log(output)
			}
		})
	}
}

// build makes a binary of the tests of package history on the driver with the bug.
func build(t *testing.T, overlay string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "history.test")
	output, err := command(t, "go", "test", "-c", "-overlay="+overlay, "-ldflags=-s -w", "-o="+binary, checks).CombinedOutput()
	require.NoError(t, err, string(output))
	return binary
}

// run runs the tests on a database server that all of them share.
func (m Mutant) run(t *testing.T, binary, server string) (string, error) {
	t.Helper()
	c := command(t, binary, "-test.v", "-test.run="+m.tests(), "-test.timeout="+patient.String())
	c.Env = append(os.Environ(), "HISTORY_POSTGRES="+server)
	output, err := c.CombinedOutput()
	return string(output), err
}

// command is one that ends with the test.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), name, args...)
}

// TestAMutantMustHaveItsPlace: a bug that is planted nowhere would be found by no test, or by the wrong one.
func TestAMutantMustHaveItsPlace(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"not there", "func (t *tx) "} {
		_, err := Mutant{Name: "a bug", File: "commit.go", Old: old}.overlay(t.TempDir(), driver)
		assert.ErrorContains(t, err, "must be there once: change the mutant as the driver has changed")
	}
}

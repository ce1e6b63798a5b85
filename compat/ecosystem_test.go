package compat

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

const ecosystem = "../docs/ecosystem.md"

// tables gives the cells of each table's rows, without their heads.
func tables(t *testing.T) (all [][][]string) {
	t.Helper()
	inside := false
	for line := range strings.Lines(file(t, ecosystem)) {
		row, ok := strings.CutPrefix(strings.TrimSpace(line), "| ")
		switch {
		case !ok:
			inside = false
		case !inside:
			inside = true
			all = append(all, nil)
		case !strings.HasPrefix(row, "---"):
			last := &all[len(all)-1]
			*last = append(*last, strings.Split(strings.TrimSuffix(row, " |"), " | "))
		}
	}
	return all
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	require.NoError(t, err)
	return string(text)
}

var backquoted = regexp.MustCompile("`([^`]*)`")

// requireCodeIn holds that the code in a cell is code that was run. Tests call the context t.Context().
func requireCodeIn(t *testing.T, cell, source string) {
	t.Helper()
	for _, m := range backquoted.FindAllStringSubmatch(cell, -1) {
		if strings.ContainsAny(m[1], `("=`) {
			code := regexp.MustCompile(`\bctx\b`).ReplaceAllString(m[1], "t.Context()")
			assert.True(t, strings.Contains(source, code) || strings.Contains(source, strings.ReplaceAll(code, "dsn", "b.dsn")),
				"no test has %s", m[1])
		}
	}
}

// TestEcosystem holds docs/ecosystem.md against go.mod and the tests.
func TestEcosystem(t *testing.T) {
	mod, err := modfile.Parse("go.mod", []byte(file(t, "go.mod")), nil)
	require.NoError(t, err)
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	all := tables(t)
	require.Len(t, all, 2)
	libraries, inRunTx := all[0], map[string]string{}
	for _, row := range all[1] {
		require.Len(t, row, 2, row)
		inRunTx[row[0]] = row[1]
	}
	assert.Len(t, inRunTx, len(libraries))

	tested := []string{"ecosystem_test.go", "kit_test.go"}
	for _, row := range libraries {
		require.Len(t, row, 6, row)
		name := regexp.MustCompile(`^[\w-]+`).FindString(row[0])
		t.Run(name, func(t *testing.T) {
			var modules []string
			for _, m := range backquoted.FindAllStringSubmatch(row[0], -1) {
				if versions[m[1]] != "" {
					modules = append(modules, m[1])
				}
			}
			require.Len(t, modules, 1, "the module, as go.mod has it")
			assert.Equal(t, versions[modules[0]], row[1], "the version in go.mod")

			link := regexp.MustCompile(`^\[(\w+_test\.go)]\(\.\./compat/(\w+_test\.go)\)$`).FindStringSubmatch(row[5])
			require.NotNil(t, link, row[5])
			require.Equal(t, link[1], link[2])
			tested = append(tested, link[1])
			source := file(t, link[1])
			assert.Contains(t, source, "Conflict(t *testing.T)")
			assert.Contains(t, source, "Constraint(t *testing.T)")
			requireCodeIn(t, row[3], source)
			require.Contains(t, inRunTx, name)
			requireCodeIn(t, inRunTx[name], source)
		})
	}

	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	slices.Sort(tested)
	assert.Equal(t, files, tested, "a test of a library that the table does not have, or two rows for one")
}

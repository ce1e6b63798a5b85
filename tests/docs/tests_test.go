package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
)

// TestTestsReadme_NamesEveryFolder, and no other.
func TestTestsReadme_NamesEveryFolder(t *testing.T) {
	t.Parallel()
	var named, there []string
	for _, row := range doctext.Table(t, doctext.Text(t, "tests/README.md"), "promise") {
		named = append(named, doctext.Code(row[1])[0])
	}
	entries, err := os.ReadDir("..")
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() {
			there = append(there, e.Name())
		}
	}
	assert.ElementsMatch(t, there, named)
}

// TestTestsReadme_SaysWhereEachFileIsTested: in tests that are there.
func TestTestsReadme_SaysWhereEachFileIsTested(t *testing.T) {
	t.Parallel()
	var named []string
	for _, row := range doctext.Table(t, doctext.Text(t, "tests/README.md"), "file") {
		named = append(named, doctext.Code(row[0])...)
		for _, tests := range doctext.Code(row[1]) {
			_, err := os.Stat(filepath.Join("..", tests))
			assert.NoError(t, err, row[0])
		}
	}
	files, err := fs.Glob(os.DirFS(doctext.Root(t)), "*.go")
	require.NoError(t, err)
	files = slices.DeleteFunc(files, func(name string) bool {
		return strings.HasSuffix(name, "_test.go") || name == "doc.go"
	})
	assert.ElementsMatch(t, files, named)
}

// TestTestsReadme_DatabaseOrNone: a folder where nothing needs a database asks for none.
func TestTestsReadme_DatabaseOrNone(t *testing.T) {
	t.Parallel()
	asks := []string{"enginetest.New", "enginetest.Get", "kit.NewKV", "kit.NewDirectKV", "kit.NewSimTable"}
	for _, row := range doctext.Table(t, doctext.Text(t, "tests/README.md"), "promise") {
		folder := doctext.Code(row[1])[0]
		files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
		require.NoError(t, err)
		needs := slices.ContainsFunc(files, func(name string) bool {
			text := doctext.Text(t, filepath.Join("tests/docs", name))
			return name != filepath.Join("..", "docs", "tests_test.go") &&
				slices.ContainsFunc(asks, func(ask string) bool { return strings.Contains(text, ask) })
		})
		assert.Equal(t, needs, row[2] != "no", folder)
	}
}

// TestTestsReadme_RequirementsOfAFailover_HaveTests that are there.
func TestTestsReadme_RequirementsOfAFailover_HaveTests(t *testing.T) {
	t.Parallel()
	there := make(map[string]bool)
	for _, folder := range []string{"failover", "faultmatrix", "conn", "errors", "observe"} {
		testsIn(t, filepath.Join("tests", folder), there)
	}
	for _, folder := range []string{"fleet", "dialer", "crdbsim"} {
		testsIn(t, filepath.Join("internal", folder), there)
	}
	rows := doctext.Table(t, doctext.Text(t, "tests/README.md"), "requirement")
	assert.NotEmpty(t, rows)
	for _, row := range rows {
		named := doctext.Code(row[1])
		assert.NotEmpty(t, named, row[0])
		for _, test := range named {
			assert.True(t, there[test], "there is no %s", test)
		}
	}
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testsIn adds the tests of a folder.
func testsIn(t *testing.T, folder string, to map[string]bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(doctext.Root(t), folder, "*_test.go"))
	require.NoError(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, found := range testFunc.FindAllStringSubmatch(string(text), -1) {
			to[found[1]] = true
		}
	}
}

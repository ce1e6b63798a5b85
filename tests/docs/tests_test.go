package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
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

package docs_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
)

// TestDocs_Versions_Agree: the versions of Go are the same in go.mod, the Makefile, CI and the doctext.
func TestDocs_Versions_Agree(t *testing.T) {
	first := func(name, pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(doctext.Text(t, name))
		require.NotNil(t, m, "%s has no %s", name, pattern)
		return m[1]
	}
	oldest := first("go.mod", `(?m)^go (1\.\d+)`)
	newest := first("Makefile", `(?m)^NEXT_GO := go(1\.\d+)`)
	assert.Contains(t, doctext.Text(t, "README.md"), "Go "+oldest+" or "+newest)
	assert.Contains(t, doctext.Text(t, "SECURITY.md"), "Go "+oldest+" and "+newest)
	assert.Contains(t, doctext.Text(t, "docs/versioning.md"), "Today "+oldest+" and "+newest)
	assert.Contains(t, doctext.Text(t, ".github/workflows/ci.yml"), `go: ["`+oldest+`", "`+newest+`"]`)
}

// TestDocs_Versioning_HasEveryModule: those without versions of their own are all but this one.
func TestDocs_Versioning_HasEveryModule(t *testing.T) {
	_, list, ok := strings.Cut(doctext.Text(t, "docs/versioning.md"), "and the modules ")
	require.True(t, ok)
	list, _, _ = strings.Cut(list, "which have no versions")
	var modules []string
	require.NoError(t, fs.WalkDir(os.DirFS(doctext.Root(t)), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if dir := path.Dir(name); path.Base(name) == "go.mod" && dir != "." && !strings.HasPrefix(dir, "tools/") {
			modules = append(modules, dir)
		}
		return err
	}))
	assert.ElementsMatch(t, modules, doctext.Code(list))
}

// TestDocs_Readme_BeginsWithCode: what it is, and two lines of code, before anything is to be scrolled.
func TestDocs_Readme_BeginsWithCode(t *testing.T) {
	before, block, ok := strings.Cut(doctext.Text(t, "README.md"), "```go\n")
	require.True(t, ok)
	block, _, _ = strings.Cut(block, "```")
	assert.Less(t, strings.Count(before, "\n"), 25)
	lines := slices.DeleteFunc(strings.Split(block, "\n"), func(line string) bool { return line == "" })
	assert.Len(t, lines, 2)
}

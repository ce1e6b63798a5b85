package docs_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
)

// TestDocs_Links_LeadSomewhere follows every relative link of every Markdown file of the repository.
func TestDocs_Links_LeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`(?:\]\(|src="|href=")([^)"\s]+)`)
	files, links := 0, 0
	for _, name := range markdown(t) {
		files++
		for _, found := range link.FindAllStringSubmatch(doctext.WithoutCode(doctext.Text(t, name)), -1) {
			links++
			doctext.CheckLink(t, name, found[1])
		}
	}
	assert.Greater(t, files, 8)
	assert.Greater(t, links, 50)
}

// TestDocs_MakeTargets_Exist looks up every make target that a Markdown file, the contribution's form or a workflow
// names.
func TestDocs_MakeTargets_Exist(t *testing.T) {
	target := regexp.MustCompile(`(?m)^([a-z-]+):`)
	exists := map[string]bool{}
	for _, found := range target.FindAllStringSubmatch(doctext.Text(t, "Makefile"), -1) {
		exists[found[1]] = true
	}
	command := regexp.MustCompile("(?m)(?:`|^|run: |; )make ([a-z][a-z-]*)")
	files := markdown(t)
	for _, pattern := range []string{".github/*/*.yml", ".ci/*"} {
		more, err := fs.Glob(os.DirFS(doctext.Root(t)), pattern)
		require.NoError(t, err)
		files = append(files, more...)
	}
	named := 0
	for _, name := range files {
		for _, found := range command.FindAllStringSubmatch(doctext.Text(t, name), -1) {
			named++
			assert.True(t, exists[found[1]], "%s names make %s", name, found[1])
		}
	}
	assert.Greater(t, named, 10)
}

// markdown gives the Markdown files of the repository.
func markdown(t *testing.T) []string {
	t.Helper()
	var names []string
	require.NoError(t, fs.WalkDir(os.DirFS(doctext.Root(t)), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "node_modules"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			names = append(names, path)
		}
		return nil
	}))
	return names
}

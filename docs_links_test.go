package cockroachdb

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLinksLeadSomewhere follows every relative link of every Markdown file of the repository.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`(?:\]\(|src="|href=")([^)"\s]+)`)
	files, links := 0, 0
	for _, name := range markdown(t) {
		files++
		for _, found := range link.FindAllStringSubmatch(withoutCode(paper(t, name)), -1) {
			links++
			checkLink(t, name, found[1])
		}
	}
	assert.Greater(t, files, 8)
	assert.Greater(t, links, 50)
}

// TestMakeTargetsExist looks up every make target that a Markdown file, the contribution's form or a workflow names.
func TestMakeTargetsExist(t *testing.T) {
	target := regexp.MustCompile(`(?m)^([a-z-]+):`)
	exists := map[string]bool{}
	for _, found := range target.FindAllStringSubmatch(paper(t, "Makefile"), -1) {
		exists[found[1]] = true
	}
	command := regexp.MustCompile("(?m)(?:`|^|run: |; )make ([a-z][a-z-]*)")
	files := markdown(t)
	for _, pattern := range []string{".github/*/*.yml", ".ci/*"} {
		more, err := fs.Glob(os.DirFS("."), pattern)
		require.NoError(t, err)
		files = append(files, more...)
	}
	named := 0
	for _, name := range files {
		for _, found := range command.FindAllStringSubmatch(paper(t, name), -1) {
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
	require.NoError(t, fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
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

var (
	codeBlock  = regexp.MustCompile("(?ms)^```.*?^```")
	codeInLine = regexp.MustCompile("`[^`\n]*`")
)

// withoutCode takes out what only looks like a link or a heading.
func withoutCode(text string) string {
	return codeInLine.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "")
}

// checkLink follows a link from one file to another, and to the heading in it.
func checkLink(t *testing.T, from, to string) {
	t.Helper()
	if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return
	}
	file, heading, _ := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = filepath.ToSlash(filepath.Join(filepath.Dir(from), file))
		if _, err := os.Stat(target); !assert.NoError(t, err, "link in %s", from) {
			return
		}
	}
	if heading != "" && strings.HasSuffix(target, ".md") {
		assert.Contains(t, anchors(paper(t, target)), heading, "link in %s", from)
	}
}

// anchors are the names that GitHub gives to the headings of a page.
func anchors(text string) []string {
	var names []string
	seen := map[string]int{}
	for line := range strings.Lines(codeBlock.ReplaceAllString(text, "")) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		name := regexp.MustCompile(`[^\pL\pN_\- ]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
		name = strings.ReplaceAll(name, " ", "-")
		if n := seen[name]; n > 0 {
			names = append(names, fmt.Sprintf("%s-%d", name, n))
		} else {
			names = append(names, name)
		}
		seen[name]++
	}
	return names
}

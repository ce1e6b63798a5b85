// Package doctext reads the repository's documentation, for the tests that hold it against the code.
package doctext

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// All are the documents that name keys, metrics, identifiers and files.
func All(t testing.TB) []string {
	t.Helper()
	root := os.DirFS(Root(t))
	var names []string
	for _, pattern := range []string{
		"*.md", "docs/*.md", "docs/decisions/*.md", ".github/*.md", ".github/ISSUE_TEMPLATE/*.yml",
	} {
		found, err := fs.Glob(root, pattern)
		require.NoError(t, err)
		require.NotEmpty(t, found, pattern)
		names = append(names, found...)
	}
	return names
}

// Root is the repository, from the folder of a package's tests.
func Root(t testing.TB) string {
	t.Helper()
	for dir := "."; ; dir = filepath.Join(dir, "..") {
		if _, err := os.Stat(filepath.Join(dir, "LICENSE")); err == nil {
			return dir
		}
		require.Less(t, len(dir), 20, "no LICENSE in the folders above")
	}
}

// Text is what is in a file of the repository.
func Text(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), filepath.FromSlash(name)))
	require.NoError(t, err)
	return string(text)
}

// Table returns the cells of the Markdown table whose first heading is head.
func Table(t testing.TB, text, head string) [][]string {
	t.Helper()
	var rows [][]string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "| "+head+" |"):
			inside = true
		case inside && !strings.HasPrefix(line, "|"):
			return rows
		case inside && !strings.HasPrefix(line, "| ---"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	require.True(t, inside, "no table that begins with %q", head)
	return rows
}

var inBackquotes = regexp.MustCompile("`([^`]*)`")

// Code returns what is between backquotes.
func Code(text string) []string {
	var words []string
	for _, m := range inBackquotes.FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	return words
}

var (
	codeBlock  = regexp.MustCompile("(?ms)^```.*?^```")
	codeInLine = regexp.MustCompile("`[^`\n]*`")
)

// WithoutCode takes out what only looks like a link or a heading.
func WithoutCode(text string) string {
	return codeInLine.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "")
}

// CheckLink follows a link from one file to another, and to the heading in it.
func CheckLink(t testing.TB, from, to string) {
	t.Helper()
	if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return
	}
	file, heading, _ := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
		if _, err := os.Stat(filepath.Join(Root(t), target)); !assert.NoError(t, err, "link in %s", from) {
			return
		}
	}
	if heading != "" && strings.HasSuffix(target, ".md") {
		assert.Contains(t, anchors(Text(t, target)), heading, "link in %s", from)
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

package migrating

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../migrating.md")
	require.NoError(t, err)
	return string(text)
}

// TestPageShowsWhatIsRun looks for each line of the page's code in the files beside it: for what an edit takes away in
// one of them, for what it puts there in another.
func TestPageShowsWhatIsRun(t *testing.T) {
	files := sources(t)
	block := regexp.MustCompile("(?s)```(\\w*)\n(.*?)```")
	found := block.FindAllStringSubmatch(page(t), -1)
	require.Greater(t, len(found), 15)
	for _, m := range found {
		switch m[1] {
		case "go":
			assert.True(t, isIn(files, m[2]), "no file has\n%s", m[2])
		case "diff":
			older, newer := sides(m[2])
			assert.True(t, isIn(files, older), "no file has\n%s", older)
			assert.True(t, isIn(files, newer), "no file has\n%s", newer)
		default:
			t.Errorf("a block of %q: it must be go or diff", m[1])
		}
	}
}

// sources gives the lines of the files that are compiled, without the tests.
func sources(t *testing.T) [][]string {
	t.Helper()
	var files [][]string
	root := os.DirFS(".")
	require.NoError(t, fs.WalkDir(root, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(root, path)
		files = append(files, strings.Split(string(text), "\n"))
		return err
	}))
	return files
}

// sides gives what was there before an edit, and what is there afterwards.
func sides(diff string) (older, newer string) {
	var o, n strings.Builder
	for line := range strings.Lines(diff) {
		if line[0] != '+' {
			o.WriteString(line[1:])
		}
		if line[0] != '-' {
			n.WriteString(line[1:])
		}
	}
	return o.String(), n.String()
}

// isIn says whether one of the files has these lines, one after the other, all of them indented by the same or not at
// all.
func isIn(files [][]string, text string) bool {
	want := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return slices.ContainsFunc(files, func(file []string) bool {
		for i := 0; i+len(want) <= len(file); i++ {
			indent, ok := strings.CutSuffix(file[i], want[0])
			if ok && strings.Trim(indent, "\t") == "" && slices.EqualFunc(want, file[i:i+len(want)], func(w, l string) bool {
				return l == "" && w == "" || l == indent+w
			}) {
				return true
			}
		}
		return false
	})
}

// eachRow runs a test for each row of the tables below a heading, by its first cell. A row without a test, or a test
// without a row, is a failure.
func eachRow(t *testing.T, heading string, tests map[string]func(t *testing.T)) {
	t.Helper()
	_, section, ok := strings.Cut(page(t), "\n## "+heading+"\n")
	require.True(t, ok, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") || strings.HasPrefix(line, "| what |") {
			continue
		}
		what := strings.TrimSpace(cells[1])
		what, _, _ = strings.Cut(what, ": `")
		test, ok := tests[what]
		if assert.True(t, ok, "no test for the row %q", what) {
			delete(tests, what)
			t.Run(what, test)
		}
	}
	assert.Empty(t, tests, "no rows for these tests")
}

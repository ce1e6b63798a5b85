package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var excerpt = regexp.MustCompile("(?s)<!-- from (\\S+) -->\n```\\w*\n(.*?)```")

// TestExcerpts holds the code that README.md shows against the code that runs.
func TestExcerpts(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	found := excerpt.FindAllStringSubmatch(string(readme), -1)
	for _, e := range found {
		source, err := os.ReadFile(e[1])
		require.NoError(t, err)
		assert.True(t, strings.Contains(string(source), e[2]), "README.md and %s differ:\n%s", e[1], e[2])
	}
	assert.Equal(t, strings.Count(string(readme), "```go\n")+strings.Count(string(readme), "```sql\n"), len(found),
		"each excerpt says where it is from")
	assert.GreaterOrEqual(t, len(found), 4)
	for _, link := range regexp.MustCompile(`\]\(([^)#:]+)[^):]*\)`).FindAllStringSubmatch(string(readme), -1) {
		_, err := os.Stat(filepath.FromSlash(link[1]))
		assert.NoError(t, err, "a link of README.md")
	}
}

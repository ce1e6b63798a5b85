package dsnurl

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The parts of a URL, put together, are the URL: nothing is lost on the way to pgx.
func FuzzSplitURL(f *testing.F) {
	f.Add("app:pw@a:1,[::1]:2/bank?x=y")
	f.Add("[/?")
	f.Fuzz(func(t *testing.T, rest string) {
		u := splitURL(rest)
		assert.Equal(t, rest, u.userinfo+u.hosts+u.path+u.query)
		assert.True(t, strings.HasPrefix(withCockroachPorts(rest), rest))
		_, _ = u.ports(), u.keys()
		_ = keywordValueKeys(rest)
	})
}

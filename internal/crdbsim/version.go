package crdbsim

import (
	"regexp"
	"strconv"
)

// A version is the first two numbers of one of CockroachDB's.
type version struct{ major, minor int }

var versionNumbers = regexp.MustCompile(`\bv(\d{1,4})\.(\d{1,4})`)

// parseVersion finds the version in what crdb_version says; the zero value stands for none.
func parseVersion(text string) version {
	m := versionNumbers.FindStringSubmatch(text)
	if m == nil {
		return version{}
	}
	major, _ := strconv.Atoi(m[1]) // the pattern leaves nothing else
	minor, _ := strconv.Atoi(m[2])
	return version{major, minor}
}

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

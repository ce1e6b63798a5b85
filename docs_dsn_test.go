package cockroachdb

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/dsnurl"
	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
)

var (
	urlInText  = regexp.MustCompile("\\b(postgresql|postgres|cockroachdb|cockroach|crdb-postgres)://[^\\s\"'`<>()\\\\]*")
	keysInText = regexp.MustCompile("\\bhost=[^\\s\"'`]+( \\w+=[^\\s\"'`]+)+")
)

// TestDocs_EveryDSN_LeadsToTheHostsAndPortsItShows: of a port that a URL gives only once, pgx takes it for the last
// host alone, and 5432 for the others. The DSNs are those of the documentation, of the comments and of the examples.
func TestDocs_EveryDSN_LeadsToTheHostsAndPortsItShows(t *testing.T) {
	clearEnv(t)
	seen := 0
	for _, name := range documented(t) {
		for _, dsn := range dsnsIn(t, name) {
			seen++
			checkShownHosts(t, name, dsn)
		}
	}
	assert.Greater(t, seen, 10, "the DSNs are not found")
}

// TestDocsDSN_PortGivenOnce_IsFound: the instrument finds the mistakes that it is there for.
func TestDocsDSN_PortGivenOnce_IsFound(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgresql://app@db1,db2,db3:26257/bank":         "",
		"postgresql://app@db1:26257,db2/bank":             "",
		"postgres://app@db1/bank":                         "",
		"host=db1,db2 port=26257 dbname=bank":             "db1:26257,db2:26257",
		"host=db1 dbname=bank":                            "",
		"host=db1,db2 port=1,2":                           "db1:1,db2:2",
		"postgresql://app:pw@db1:1,db2:2/bank?sslmode=no": "db1:1,db2:2",
		"cockroachdb://app@db1,db2:7/bank":                "db1:26257,db2:7",
	} {
		got, complete := shownHosts(dsn)
		assert.Equal(t, want != "", complete, dsn)
		if complete {
			assert.Equal(t, want, got, dsn)
		}
	}
}

func checkShownHosts(t *testing.T, file, dsn string) {
	t.Helper()
	cfg, err := ParseConfig(dsn)
	if !assert.NoError(t, err, "%s: %s", file, dsn) {
		return
	}
	want, complete := shownHosts(dsn)
	if assert.True(t, complete, "%s: %s gives a host no port, and so leads to 5432 there", file, dsn) {
		assert.Equal(t, want, strings.Join(hostsOf(cfg.ConnConfig), ","), "%s: %s", file, dsn)
	}
}

// shownHosts reads hosts and ports as a person does. complete says that each host has a port: its own, that of all, or
// CockroachDB's where the scheme says that it is one.
func shownHosts(dsn string) (hosts string, complete bool) {
	var byScheme, list, ports string
	if scheme, rest, isURL := strings.Cut(dsn, "://"); isURL {
		if !strings.HasPrefix(scheme, "postgres") {
			byScheme = dsnurl.CockroachPort
		}
		authority, _, _ := strings.Cut(rest, "/")
		authority, _, _ = strings.Cut(authority, "?")
		list = authority[strings.LastIndex(authority, "@")+1:]
	} else {
		list, ports = valueOf(dsn, "host"), valueOf(dsn, "port")
	}
	each := strings.Split(ports, ",")
	var all []string
	for i, host := range strings.Split(list, ",") {
		if !strings.Contains(host, ":") {
			port := byScheme
			if ports != "" {
				port = each[min(i, len(each)-1)]
			}
			if port == "" {
				return "", false
			}
			host += ":" + port
		}
		all = append(all, host)
	}
	return strings.Join(all, ","), true
}

func valueOf(dsn, key string) string {
	for pair := range strings.FieldsSeq(dsn) {
		if k, v, _ := strings.Cut(pair, "="); k == key {
			return v
		}
	}
	return ""
}

// documented lists the files whose DSNs people copy.
func documented(t *testing.T) (names []string) {
	t.Helper()
	require.NoError(t, fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		base := path.Base(name)
		isTest := strings.HasSuffix(base, "_test.go") && !strings.HasPrefix(base, "example_")
		switch path.Ext(base) {
		case ".md", ".yml", ".yaml":
			names = append(names, name)
		case ".go":
			if !isTest {
				names = append(names, name)
			}
		default:
			if base == "Makefile" {
				names = append(names, name)
			}
		}
		return nil
	}))
	require.Contains(t, names, "README.md")
	return names
}

// dsnsIn gives the DSNs of a file: of a Go file those of its comments, and of an example those of its code too.
func dsnsIn(t *testing.T, name string) (dsns []string) {
	t.Helper()
	texts := []string{doctext.Text(t, name)}
	if strings.HasSuffix(name, ".go") {
		texts = goTexts(t, name)
	}
	for _, text := range texts {
		for _, dsn := range slices.Concat(urlInText.FindAllString(text, -1), keysInText.FindAllString(text, -1)) {
			dsn = strings.TrimRight(dsn, ".,;:*")
			if _, rest, isURL := strings.Cut(dsn, "://"); isURL && !isWhole(rest) {
				continue // a scheme alone, or what the program completes
			}
			if strings.Contains(dsn, "retry_max_elapse=") {
				continue // which shows what is said of a mistyped key
			}
			dsns = append(dsns, dsn)
		}
	}
	return dsns
}

func isWhole(rest string) bool {
	authority, _, _ := strings.Cut(rest, "/")
	complete := authority != "" && authority[0] != '?' && !strings.HasSuffix(authority, "@")
	return complete && !strings.ContainsAny(rest, "…%$|")
}

func goTexts(t *testing.T, name string) (texts []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, c := range file.Comments {
		texts = append(texts, c.Text())
	}
	if strings.HasPrefix(name, "examples/") || strings.HasPrefix(path.Base(name), "example_") {
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				texts = append(texts, text)
			}
			return true
		})
	}
	return texts
}

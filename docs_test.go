package cockroachdb

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
)

// What the documentation says of keys, defaults, causes and advice is held against the code here. tests/docs does the
// rest.

// defaults is what a DSN without keys of the driver's own makes.
func defaults() Config {
	return Config{
		RetryPolicy: DefaultRetryPolicy(), RetryThrottle: DefaultRetryThrottle(), PingAfter: defaultPingAfter,
		ConnLifetime: defaultConnLifetime, DialRate: defaultDialRate, BalanceHosts: true, CommitTable: DefaultCommitTable,
		PinGenerated: true, deadPeer: defaultDeadPeerTimeout,
		Restart: RestartSavepoint, LearnLocks: LearnLocksInRunTx,
	}
}

func TestReadme_Settings_AreThoseOfTheCode(t *testing.T) {
	table := doctext.Table(t, doctext.Text(t, "README.md"), "DSN key")
	var keys []string
	for _, row := range table {
		key := doctext.Code(row[0])[0]
		keys = append(keys, key)
		s, ok := settingNamed(key)
		if !assert.True(t, ok, "README has %q, and the driver does not", key) {
			continue
		}
		kind, _, _ := strings.Cut(s.kind, " such as")
		assert.Equal(t, kind, row[1], key)

		byDefault := defaults()
		asInReadme := byDefault
		require.NoError(t, s.set(&asInReadme, doctext.Code(row[2])[0]), key)
		assert.Equal(t, byDefault, asInReadme, "the default of %s", key)
	}
	var want []string
	for _, s := range settings {
		want = append(want, s.key)
	}
	assert.Equal(t, want, keys)
}

// TestTuning_Defaults_AreThoseOfTheCode holds the defaults in docs/tuning.md, which follow the keys, against the code.
func TestTuning_Defaults_AreThoseOfTheCode(t *testing.T) {
	found := map[string]bool{}
	keys := regexp.MustCompile("\\*\\*`([a-z_]+)`\\*\\* \\(([^),]+)")
	for _, m := range keys.FindAllStringSubmatch(doctext.Text(t, "docs/tuning.md"), -1) {
		s, ok := settingNamed(m[1])
		require.True(t, ok, m[1])
		byDefault := defaults()
		asWritten := byDefault
		require.NoError(t, s.set(&asWritten, m[2]), m[1])
		assert.Equal(t, byDefault, asWritten, "the default of %s", m[1])
		found[m[1]] = true
	}
	for _, s := range settings {
		assert.True(t, found[s.key], "docs/tuning.md does not say what %s is", s.key)
	}
}

// TestDocs_NameOnlyKeysThereAre looks for DSN keys that don't exist.
func TestDocs_NameOnlyKeysThereAre(t *testing.T) {
	key := regexp.MustCompile(`\bretry_[a-z]\w*(\.go)?`)
	for _, name := range append(doctext.All(t), "doc.go") {
		for _, found := range key.FindAllString(doctext.Text(t, name), -1) {
			_, ok := settingNamed(found)
			assert.True(t, ok || strings.HasSuffix(found, ".go"), "%s: no DSN key %s", name, found)
		}
	}
}

// TestReadme_NotReplayable_NamesEveryCause but the one where the driver stands aside, and has no error of its own.
func TestReadme_NotReplayable_NamesEveryCause(t *testing.T) {
	for _, row := range doctext.Table(t, doctext.Text(t, "README.md"), "type") {
		if doctext.Code(row[0])[0] != "NotReplayableError" {
			continue
		}
		for _, c := range allCauses {
			if c != CauseApplicationSavepoint {
				assert.Contains(t, doctext.Code(row[1]), string(c))
			}
		}
		return
	}
	t.Error("README has no NotReplayableError")
}

// TestDoc_ParseConfig_NamesEveryKey: so that go doc is enough to write a DSN.
func TestDoc_ParseConfig_NamesEveryKey(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Name.Name == "ParseConfig" && f.Recv == nil {
				for _, s := range settings {
					assert.Regexp(t, `\b`+s.key+`\b`, f.Doc.Text())
				}
				return
			}
		}
	}
	t.Error("there is no ParseConfig")
}

// The message of a divergence leads to a section that is there.
func TestTuning_Sections_AreThoseThatErrorsName(t *testing.T) {
	text := doctext.Text(t, "docs/tuning.md")
	for _, c := range []advice{
		adviceChanged, adviceGenerated, adviceClock, adviceOrder,
		adviceCount, adviceErrors, adviceColumns,
		{section: tuningSection},
	} {
		doctext.CheckLink(t, "README.md", "docs/tuning.md#"+c.section)
		if c.section != tuningSection {
			assert.Contains(t, text, "](#"+c.section+")", "the table does not lead there")
		}
	}
	for _, kind := range allDivergenceKinds {
		assert.NotEqual(t, advice{}, adviceOn(kind, "", 0))
		assert.Contains(t, text, "`"+string(kind)+"`")
	}
}

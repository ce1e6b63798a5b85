package cockroachdb

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The papers are held against the code here: a key, default, metric, label value, error or file that only one of them knows is a
// failure.

var papers = append([]string{
	"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md",
	"docs/README.md", "docs/architecture.md", "docs/ecosystem.md", "docs/events.md", "docs/failover.md", "docs/metrics.md", "docs/migrating.md",
	"docs/monitoring.md", "docs/performance.md", "docs/pgx.md", "docs/poolers.md", "docs/reliability.md", "docs/semantics.md",
	"docs/tuning.md", "docs/versioning.md",
	".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/divergence.yml", ".github/ISSUE_TEMPLATE/idea.yml", ".github/pull_request_template.md",
}, decisions()...)

// decisions returns the pages of docs/decisions.
func decisions() []string {
	names, _ := filepath.Glob("docs/decisions/*.md")
	for i, name := range names {
		names[i] = filepath.ToSlash(name)
	}
	return names
}

func paper(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(name))
	require.NoError(t, err)
	return string(text)
}

// tableIn gives the cells of the Markdown table whose first heading is head.
func tableIn(t *testing.T, text, head string) [][]string {
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

// code gives what is between backquotes.
func code(text string) []string {
	var words []string
	for _, m := range inBackquotes.FindAllStringSubmatch(text, -1) {
		words = append(words, m[1])
	}
	return words
}

// defaults is what a DSN without keys of the driver's own makes.
func defaults() Config {
	return Config{
		RetryPolicy: DefaultRetryPolicy(), RetryThrottle: DefaultRetryThrottle(), PingAfter: defaultPingAfter,
		ConnLifetime: defaultConnLifetime, DialRate: defaultDialRate, BalanceHosts: true,
	}
}

func TestReadmeSettings(t *testing.T) {
	table := tableIn(t, paper(t, "README.md"), "DSN key")
	var keys []string
	for _, row := range table {
		key := code(row[0])[0]
		keys = append(keys, key)
		s, ok := settingNamed(key)
		if !assert.True(t, ok, "README has %q, and the driver does not", key) {
			continue
		}
		kind, _, _ := strings.Cut(s.kind, " such as")
		assert.Equal(t, kind, row[1], key)

		byDefault := defaults()
		asInReadme := byDefault
		require.NoError(t, s.set(&asInReadme, code(row[2])[0]), key)
		assert.Equal(t, byDefault, asInReadme, "the default of %s", key)
	}
	var want []string
	for _, s := range settings {
		want = append(want, s.key)
	}
	assert.Equal(t, want, keys)
}

// TestTuningDefaults holds the defaults in docs/tuning.md, which stand behind the keys, against the code.
func TestTuningDefaults(t *testing.T) {
	found := map[string]bool{}
	for _, m := range regexp.MustCompile("\\*\\*`([a-z_]+)`\\*\\* \\(([^),]+)").FindAllStringSubmatch(paper(t, "docs/tuning.md"), -1) {
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

func TestMetricsPage(t *testing.T) {
	m := NewMetrics()
	m.acquire("bank")
	known := families(t, m)
	seen := map[string]bool{}
	for _, row := range tableIn(t, paper(t, "docs/metrics.md"), "metric") {
		name := code(row[0])[0]
		seen[name] = true
		family, ok := known[name]
		if !assert.True(t, ok, "docs/metrics.md has %q, and the driver does not", name) {
			continue
		}
		assert.Equal(t, strings.ToLower(family.GetType().String()), row[1], name)
		assert.Equal(t, labelValues(family), labelsIn(row[2]), name)
	}
	for name := range known {
		assert.True(t, seen[name], "docs/metrics.md does not have %q", name)
	}
}

// labelValues gives the values of each label but db_name.
func labelValues(family *dto.MetricFamily) map[string][]string {
	labels := map[string][]string{}
	for _, metric := range family.GetMetric() {
		for _, l := range metric.GetLabel() {
			if l.GetName() != labelDBName && !slices.Contains(labels[l.GetName()], l.GetValue()) {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
	}
	for _, values := range labels {
		slices.Sort(values)
	}
	return labels
}

// labelsIn reads "`label`: `value`, `value`; `label`: `value`".
func labelsIn(cell string) map[string][]string {
	labels := map[string][]string{}
	if cell == "" {
		return labels
	}
	for part := range strings.SplitSeq(cell, ";") {
		words := code(part)
		labels[words[0]] = slices.Sorted(slices.Values(words[1:]))
	}
	return labels
}

func TestReadmeErrors(t *testing.T) {
	var types []string
	for name, isType := range exported(t) {
		if isType && strings.HasSuffix(name, "Error") {
			types = append(types, name)
		}
	}
	var inReadme []string
	for _, row := range tableIn(t, paper(t, "README.md"), "type") {
		name := code(row[0])[0]
		inReadme = append(inReadme, name)
		words := code(row[1])
		switch name {
		case "RetriesExhaustedError":
			for _, b := range []Bound{BoundAttempts, BoundElapsed, BoundThrottle} {
				assert.Contains(t, words, string(b))
			}
		case "NotReplayableError":
			for _, c := range allCauses {
				if c != CauseApplicationSavepoint { // there the driver stands aside, and has no error of its own
					assert.Contains(t, words, string(c))
				}
			}
		}
	}
	assert.ElementsMatch(t, types, inReadme)
	for _, name := range types {
		assert.Contains(t, paper(t, "doc.go"), "["+name+"]:", "the package documentation")
	}
}

// TestPapersNameWhatThereIs looks for keys, metrics, identifiers and files that don't exist.
func TestPapersNameWhatThereIs(t *testing.T) {
	m := NewMetrics()
	m.acquire("bank")
	metrics := families(t, m)
	names := exported(t)
	var (
		key        = regexp.MustCompile(`\bretry_[a-z]\w*(\.go)?`)
		metric     = regexp.MustCompile(`(?:^|[^\w:])(cockroachdb_[a-z]\w*)`) // behind a colon it is what a rule records
		identifier = regexp.MustCompile(`\bcockroachdb\.([A-Z]\w*)`)
		goFile     = regexp.MustCompile("`([\\w/.]+\\.go)`")
		folder     = regexp.MustCompile("`(internal/[\\w/]+)`")
	)
	for _, name := range append(papers, "doc.go") {
		t.Run(name, func(t *testing.T) {
			text := paper(t, name)
			for _, found := range key.FindAllString(text, -1) {
				_, ok := settingNamed(found)
				assert.True(t, ok || strings.HasSuffix(found, ".go"), "no DSN key %s", found)
			}
			for _, found := range metric.FindAllStringSubmatch(text, -1) {
				assert.Contains(t, metrics, found[1])
			}
			for _, found := range identifier.FindAllStringSubmatch(text, -1) {
				assert.Contains(t, names, found[1])
			}
			for _, found := range append(goFile.FindAllStringSubmatch(text, -1), folder.FindAllStringSubmatch(text, -1)...) {
				_, err := os.Stat(filepath.FromSlash(found[1]))
				assert.NoError(t, err)
			}
		})
	}
}

// TestArchitectureNamesEveryFile holds the table of files in docs/architecture.md against the folder.
func TestArchitectureNamesEveryFile(t *testing.T) {
	var named []string
	for _, row := range tableIn(t, paper(t, "docs/architecture.md"), "file") {
		for _, name := range code(row[0]) {
			if strings.HasSuffix(name, ".go") {
				named = append(named, name)
			}
		}
	}
	files, err := fs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	files = slices.DeleteFunc(files, func(name string) bool {
		return strings.HasSuffix(name, "_test.go") || name == "doc.go"
	})
	assert.ElementsMatch(t, files, named)
}

// exported gives the package's exported names, and whether they are types.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil && decl.Name.IsExported() {
					names[decl.Name.Name] = false
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					addSpec(names, spec)
				}
			}
		}
	}
	return names
}

func addSpec(names map[string]bool, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			names[spec.Name.Name] = true
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() {
				names[name.Name] = false
			}
		}
	}
}

// TestPapersGoCodeParses parses what is in the papers as Go: a file, declarations or statements.
func TestPapersGoCodeParses(t *testing.T) {
	block := regexp.MustCompile("(?s)```go\n(.*?)```")
	for _, name := range papers {
		for _, found := range block.FindAllStringSubmatch(paper(t, name), -1) {
			text := found[1]
			source := "package p\n"
			if first, rest, _ := strings.Cut(text, "\n"); strings.HasPrefix(first, "import ") {
				source += first + "\n"
				text = rest
			}
			_, err := parser.ParseFile(token.NewFileSet(), name, source+text, parser.SkipObjectResolution)
			if err != nil { // no declarations, but statements
				source += "func f() error {\n" + text + "\n}"
				_, err = parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
			}
			assert.NoError(t, err, "%s:\n%s", name, found[1])
		}
	}
}

// The message of a divergence leads to a section that is there.
func TestDivergencesLeadToTuning(t *testing.T) {
	text := paper(t, "docs/tuning.md")
	for _, c := range []advice{adviceChanged, adviceGenerated, adviceClock, adviceOrder, adviceCount, adviceErrors, adviceColumns, {section: tuningSection}} {
		checkLink(t, "README.md", "docs/tuning.md#"+c.section)
		if c.section != tuningSection {
			assert.Contains(t, text, "](#"+c.section+")", "the table does not lead there")
		}
	}
	for _, kind := range allDivergenceKinds {
		assert.NotEqual(t, advice{}, adviceOn(kind, &record{}))
		assert.Contains(t, text, "`"+string(kind)+"`")
	}
}

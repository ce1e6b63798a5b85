package docs_test

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

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// metricFamilies are those of a pool that has done nothing.
func metricFamilies(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	m := cockroachdb.NewMetrics()
	kit.Open(t, "postgresql://localhost/bank", func(cfg *cockroachdb.Config) { cfg.Metrics = m })
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	gathered, err := registry.Gather()
	require.NoError(t, err)
	families := map[string]*dto.MetricFamily{}
	for _, f := range gathered {
		families[f.GetName()] = f
	}
	return families
}

func TestDocs_MetricsPage_HasEveryMetric(t *testing.T) {
	known := metricFamilies(t)
	seen := map[string]bool{}
	for _, row := range doctext.Table(t, doctext.Text(t, "docs/metrics.md"), "metric") {
		name := doctext.Code(row[0])[0]
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
			if l.GetName() != "db_name" && !slices.Contains(labels[l.GetName()], l.GetValue()) {
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
		words := doctext.Code(part)
		labels[words[0]] = slices.Sorted(slices.Values(words[1:]))
	}
	return labels
}

func TestDocs_Readme_HasEveryError(t *testing.T) {
	var types []string
	for name, isType := range exported(t) {
		if isType && strings.HasSuffix(name, "Error") {
			types = append(types, name)
		}
	}
	var inReadme []string
	for _, row := range doctext.Table(t, doctext.Text(t, "README.md"), "type") {
		name := doctext.Code(row[0])[0]
		inReadme = append(inReadme, name)
		words := doctext.Code(row[1])
		if name == "RetriesExhaustedError" {
			for _, b := range []cockroachdb.Bound{
				cockroachdb.BoundAttempts, cockroachdb.BoundElapsed, cockroachdb.BoundThrottle,
			} {
				assert.Contains(t, words, string(b))
			}
		}
	}
	assert.ElementsMatch(t, types, inReadme)
	for _, name := range types {
		assert.Contains(t, doctext.Text(t, "doc.go"), "["+name+"]:", "the package documentation")
	}
}

// TestDocs_Names_Exist looks for metrics, identifiers and files that don't exist.
func TestDocs_Names_Exist(t *testing.T) {
	metrics := metricFamilies(t)
	names := exported(t)
	var (
		metric     = regexp.MustCompile(`(?:^|[^\w:])(cockroachdb_[a-z]\w*)`) // after a colon it is what a rule records
		identifier = regexp.MustCompile(`\bcockroachdb\.([A-Z]\w*)`)
		goFile     = regexp.MustCompile("`([\\w/.]+\\.go)`")
		folder     = regexp.MustCompile("`(internal/[\\w/]+)`")
	)
	for _, name := range append(doctext.All(t), "doc.go") {
		t.Run(name, func(t *testing.T) {
			text := doctext.Text(t, name)
			for _, found := range metric.FindAllStringSubmatch(text, -1) {
				assert.Contains(t, metrics, found[1])
			}
			for _, found := range identifier.FindAllStringSubmatch(text, -1) {
				assert.Contains(t, names, found[1])
			}
			for _, found := range append(goFile.FindAllStringSubmatch(text, -1), folder.FindAllStringSubmatch(text, -1)...) {
				_, err := os.Stat(filepath.Join(doctext.Root(t), filepath.FromSlash(found[1])))
				assert.NoError(t, err)
			}
		})
	}
}

// TestDocs_Architecture_HasEveryFile holds the table of files in docs/architecture.md against the folder.
func TestDocs_Architecture_HasEveryFile(t *testing.T) {
	var named []string
	for _, row := range doctext.Table(t, doctext.Text(t, "docs/architecture.md"), "file") {
		for _, name := range doctext.Code(row[0]) {
			if strings.HasSuffix(name, ".go") {
				named = append(named, name)
			}
		}
	}
	files, err := fs.Glob(os.DirFS(doctext.Root(t)), "*.go")
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
	files, err := filepath.Glob(filepath.Join(doctext.Root(t), "*.go"))
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

// TestDocs_GoCode_Parses parses what is in the documentation as Go: a file, declarations or statements.
func TestDocs_GoCode_Parses(t *testing.T) {
	block := regexp.MustCompile("(?s)```go\n(.*?)```")
	for _, name := range doctext.All(t) {
		for _, found := range block.FindAllStringSubmatch(doctext.Text(t, name), -1) {
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

package docs_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
)

// documentation gives the package as go doc and pkg.go.dev show it, with its examples.
func documentation(t *testing.T) *doc.Package {
	t.Helper()
	fset := token.NewFileSet()
	names, err := fs.Glob(os.DirFS(doctext.Root(t)), "*.go")
	require.NoError(t, err)
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(fset, filepath.Join(doctext.Root(t), name), nil, parser.ParseComments)
		require.NoError(t, err)
		if !strings.HasSuffix(name, "_test.go") || strings.HasSuffix(file.Name.Name, "_test") {
			files = append(files, file)
		}
	}
	p, err := doc.NewFromFiles(fset, files, "github.com/reprise-go/cockroachdb")
	require.NoError(t, err)
	return p
}

// TestDoc_EverythingExported_IsDocumented: the package, its functions, types, methods, fields, constants and variables.
func TestDoc_EverythingExported_IsDocumented(t *testing.T) {
	p := documentation(t)
	assert.NotEmpty(t, p.Doc)
	checkFuncs(t, "", p.Funcs)
	checkValues(t, slices.Concat(p.Consts, p.Vars))
	for _, typ := range p.Types {
		assert.NotEmpty(t, typ.Doc, typ.Name)
		checkFuncs(t, "", typ.Funcs)
		checkFuncs(t, typ.Name+".", typ.Methods)
		checkValues(t, slices.Concat(typ.Consts, typ.Vars))
		for _, spec := range typ.Decl.Specs {
			if s, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok {
				checkFields(t, typ.Name, s.Fields.List)
			}
		}
	}
}

func checkFuncs(t *testing.T, of string, funcs []*doc.Func) {
	t.Helper()
	for _, f := range funcs {
		assert.NotEmpty(t, f.Doc, "%s%s", of, f.Name)
	}
}

func checkValues(t *testing.T, values []*doc.Value) {
	t.Helper()
	for _, v := range values {
		assert.NotEmpty(t, v.Doc, v.Names)
		for _, spec := range v.Decl.Specs {
			s := spec.(*ast.ValueSpec)
			assert.True(t, len(v.Decl.Specs) == 1 || s.Doc != nil || s.Comment != nil, s.Names)
		}
	}
}

// checkFields: a comment above a field is also that of the fields which follow without an empty line.
func checkFields(t *testing.T, of string, fields []*ast.Field) {
	t.Helper()
	documented, end := false, token.NoPos
	for _, f := range fields {
		next := end != token.NoPos && f.Pos()-end < 4 // a line break and tabs
		documented = f.Doc != nil || documented && next
		end = f.End()
		for _, name := range f.Names {
			assert.True(t, documented || f.Comment != nil, "%s.%s", of, name)
		}
	}
}

// TestDoc_MainNames_HaveAnExample: each exported function, type and variable is in an example that go doc shows, or is
// one that nobody writes.
func TestDoc_MainNames_HaveAnExample(t *testing.T) {
	unwritten := map[string]bool{
		"Driver":         true, // opened by its name
		"Connector":      true, // what NewConnector returns
		"Bound":          true, // a field of RetriesExhaustedError
		"Cause":          true, // a field of NotReplayableError
		"Outcome":        true, // a field of OutcomeEvent
		"Place":          true, // a field of the events
		"Reason":         true, // a field of the events
		"DivergenceKind": true, // a field of DivergenceError
		"CommitAnswer":   true, // a field of CommitEvent
		"RestartMode":    true, // a field of Config
		"LockLearning":   true, // a field of Config
		"LockChange":     true, // a field of LockEvent
		"Report":         true, // what Connector.Report returns
		"Protection":     true, // a field of Report
		"ReportCause":    true, // a field of Report
		"ReportText":     true, // a field of Report
	}
	shown := map[string]bool{}
	name := regexp.MustCompile(`\bcockroachdb\.([A-Z]\w*)`)
	files, err := fs.Glob(os.DirFS(doctext.Root(t)), "example_*_test.go")
	require.NoError(t, err)
	for _, file := range append(files, "example_test.go") {
		for _, found := range name.FindAllStringSubmatch(doctext.Text(t, file), -1) {
			shown[found[1]] = true
		}
	}
	p := documentation(t)
	values := []string{"DefaultMetrics"}
	for _, f := range p.Funcs {
		values = append(values, f.Name)
	}
	for _, typ := range p.Types {
		shown[typ.Name] = shown[typ.Name] || len(typ.Examples) > 0 || typ.Name == "Config" // what ParseConfig returns
		values = append(values, typ.Name)
		for _, f := range typ.Funcs {
			values = append(values, f.Name)
		}
	}
	for _, n := range values {
		assert.True(t, shown[n] || unwritten[n], "no example has cockroachdb.%s", n)
		assert.False(t, shown[n] && unwritten[n], "an example has cockroachdb.%s after all", n)
	}

	// Errors, and what there is to call, have examples of their own.
	for _, typ := range p.Types {
		if strings.HasSuffix(typ.Name, "Error") {
			assert.NotEmpty(t, typ.Examples, typ.Name)
		}
	}
	for _, f := range p.Funcs {
		assert.NotEmpty(t, f.Examples, f.Name)
	}
}

// TestDoc_Examples_HaveAnOutput: an example without an output is compiled, and never run.
func TestDoc_Examples_HaveAnOutput(t *testing.T) {
	p := documentation(t)
	examples := slices.Clone(p.Examples)
	for _, f := range p.Funcs {
		examples = append(examples, f.Examples...)
	}
	for _, typ := range p.Types {
		examples = append(examples, typ.Examples...)
		for _, f := range slices.Concat(typ.Funcs, typ.Methods) {
			examples = append(examples, f.Examples...)
		}
	}
	assert.Greater(t, len(examples), 15)
	for _, e := range examples {
		assert.NotEmpty(t, e.Doc, "Example%s", e.Name)
		assert.NotEmpty(t, e.Output, "Example%s", e.Name)
	}
}

// TestDoc_BracketsInThePackageComment_AreLinks: what stands in brackets is a link, or else it is shown with them.
func TestDoc_BracketsInThePackageComment_AreLinks(t *testing.T) {
	p := documentation(t)
	text := string(p.HTML(p.Doc))
	assert.Greater(t, strings.Count(text, "<h3"), 8, "headings")
	assert.Greater(t, strings.Count(text, "<a href"), 20, "links")
	code := regexp.MustCompile(`(?s)<pre>.*?</pre>`)
	assert.NotContains(t, code.ReplaceAllString(text, ""), "[")
}

package docs_test

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/doctext"
)

const modulePath = "github.com/reprise-go/cockroachdb"

// TestAPI_WhatUsersCanReach_IsExported walks the ways out of the package: each exported function, type, field, method,
// constant and variable, and what is reached through those. None leads to a type that a user can't name.
func TestAPI_WhatUsersCanReach_IsExported(t *testing.T) {
	t.Parallel()
	p, _ := checked(t, "")
	w := walk{seen: map[types.Type]bool{}}
	for _, name := range p.Scope().Names() {
		if obj := p.Scope().Lookup(name); obj.Exported() {
			w.object(name, obj)
		}
	}
	assert.Empty(t, w.found)
	assert.Greater(t, len(w.seen), 100, "the walk does not come far")
}

// TestAPI_WhatIsHandedOut_SpeaksInExportedTypes: database/sql, and Raw, hand out values of types that have no exported
// name. Their exported methods can be called all the same, by an interface.
func TestAPI_WhatIsHandedOut_SpeaksInExportedTypes(t *testing.T) {
	t.Parallel()
	p, _ := checked(t, "")
	for _, name := range []string{"conn", "tx", "rows", "stmt", "result"} {
		obj := p.Scope().Lookup(name)
		require.NotNil(t, obj, name)
		w := walk{seen: map[types.Type]bool{}}
		w.methods(name, obj.Type())
		assert.Empty(t, w.found)
	}
	conn := types.NewPointer(p.Scope().Lookup("conn").Type())
	iface := p.Scope().Lookup("Conn").Type().Underlying().(*types.Interface)
	assert.True(t, types.Implements(conn, iface), "what Raw gets is a Conn")
}

// TestAPI_Errors_AreExportedTypes: whoever gets an error can find out by its type what it is. Those without an
// exported name only have a text, and the error that they wrap.
func TestAPI_Errors_AreExportedTypes(t *testing.T) {
	t.Parallel()
	textsOnly := []string{
		modulePath + ".otherSessionError", modulePath + ".quietError", modulePath + "/internal/wire.ChangedError",
	}
	iface := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	_, all := checked(t, "")
	var hidden, exported []string
	for _, p := range all {
		for _, name := range p.Scope().Names() {
			obj, ok := p.Scope().Lookup(name).(*types.TypeName)
			if !ok || types.IsInterface(obj.Type()) || !types.Implements(types.NewPointer(obj.Type()), iface) {
				continue
			}
			if full := p.Path() + "." + name; obj.Exported() && p.Path() == modulePath {
				exported = append(exported, full)
			} else {
				hidden = append(hidden, full)
			}
		}
	}
	assert.ElementsMatch(t, textsOnly, hidden)
	assert.NotEmpty(t, exported)
}

// TestAPIWalk_HiddenTypes_AreFound: the instrument finds what it is there for.
func TestAPIWalk_HiddenTypes_AreFound(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a result":                "type hidden struct{}; func F() *hidden { return nil }",
		"an argument":             "type hidden struct{}; func F(map[string][]hidden) {}",
		"a field":                 "type hidden struct{}; type T struct { F chan hidden }",
		"an embedded field":       "type hidden struct{ X int }; type T struct { hidden }",
		"a method":                "type hidden struct{}; type T struct{}; func (*T) M() func(hidden) { return nil }",
		"a method of a field":     "type hidden struct{}; type U struct{}; func (U) M(hidden) {}; type T struct { F U }",
		"an interface":            "type hidden struct{}; type I interface { M() hidden }",
		"a variable":              "type hidden struct{}; var V hidden",
		"a constant":              "type hidden int; const C hidden = 1",
		"an alias":                "type hidden struct{}; type T = hidden",
		"of an internal package":  `import "` + modulePath + `/internal/sqltext"; var V sqltext.Class`,
		"an argument of a type":   "type hidden struct{}; type G[E any] struct{}; var V G[hidden]",
		"what bounds a parameter": "type hidden interface{ M() }; func F[E hidden]() {}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := checked(t, "package p; "+text)
			w := walk{seen: map[types.Type]bool{}}
			for _, name := range p.Scope().Names() {
				if obj := p.Scope().Lookup(name); obj.Exported() {
					w.object(name, obj)
				}
			}
			assert.NotEmpty(t, w.found)
		})
	}
}

// A walk follows types to where they lead, and notes the ways to those that have no exported name, or whose package is
// internal. It doesn't go into other modules.
type walk struct {
	seen  map[types.Type]bool
	found []string
}

func (w *walk) object(way string, obj types.Object) {
	if name, ok := obj.(*types.TypeName); ok && name.IsAlias() {
		w.to(way, types.Unalias(obj.Type()))
		return
	}
	w.to(way, obj.Type())
}

func (w *walk) to(way string, typ types.Type) {
	if w.seen[typ] {
		return
	}
	w.seen[typ] = true
	switch typ := typ.(type) {
	case *types.Alias:
		w.to(way, types.Unalias(typ))
	case *types.Named:
		w.named(way, typ)
	case *types.TypeParam:
		w.to(way, typ.Constraint())
	case *types.Signature:
		w.signature(way, typ)
	case *types.Struct:
		w.fields(way, typ)
	case *types.Interface:
		w.methods(way, typ)
		for etyp := range typ.EmbeddedTypes() {
			w.to(way, etyp)
		}
	case *types.Union:
		for term := range typ.Terms() {
			w.to(way, term.Type())
		}
	case *types.Map:
		w.to(way, typ.Key())
		w.to(way, typ.Elem())
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		w.to(way, typ.Elem())
	}
}

func (w *walk) named(way string, typ *types.Named) {
	obj := typ.Obj()
	for t := range typ.TypeArgs().Types() {
		w.to(way, t)
	}
	if obj.Pkg() == nil || obj.Pkg().Path() != "p" && !strings.HasPrefix(obj.Pkg().Path(), modulePath) {
		return
	}
	if !obj.Exported() || strings.Contains(obj.Pkg().Path(), "/internal/") {
		w.found = append(w.found, fmt.Sprintf("%s leads to %s", way, typ))
		return
	}
	for tparam := range typ.TypeParams().TypeParams() {
		w.to(way, tparam)
	}
	w.methods(way, typ)
	w.to(way, typ.Underlying())
}

func (w *walk) signature(way string, s *types.Signature) {
	for tparam := range s.TypeParams().TypeParams() {
		w.to(way, tparam)
	}
	for v := range s.Params().Variables() {
		w.to(way, v.Type())
	}
	for v := range s.Results().Variables() {
		w.to(way, v.Type())
	}
}

// fields follows the exported fields, and those that are embedded: what they have is the struct's own.
func (w *walk) fields(way string, s *types.Struct) {
	for f := range s.Fields() {
		if f.Exported() || f.Embedded() {
			w.to(way+"."+f.Name(), f.Type())
		}
	}
}

// methods follows the exported methods of typ and of a pointer to it.
func (w *walk) methods(way string, typ types.Type) {
	set := types.NewMethodSet(typ)
	if !types.IsInterface(typ) {
		set = types.NewMethodSet(types.NewPointer(typ))
	}
	for m := range set.Methods() {
		if m.Obj().Exported() {
			w.to(way+"."+m.Obj().Name(), m.Obj().Type())
		}
	}
}

// checked gives the package as the compiler sees it, or that of a text in its place; and what the package imports of
// this module, itself included.
func checked(t *testing.T, text string) (*types.Package, []*types.Package) {
	t.Helper()
	exports, err := exportData()
	require.NoError(t, err)
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	path, files := modulePath, []*ast.File{}
	if text == "" {
		files = sources(t, fset)
	} else {
		path = "p"
		file, err := parser.ParseFile(fset, "p.go", text, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	p, err := (&types.Config{Importer: imports}).Check(path, fset, files, nil)
	require.NoError(t, err)
	all := []*types.Package{p}
	for path := range exports {
		if strings.HasPrefix(path, modulePath+"/") {
			imported, err := imports.Import(path)
			require.NoError(t, err)
			all = append(all, imported)
		}
	}
	return p, all
}

// sources are the files that are compiled into the package here.
func sources(t *testing.T, fset *token.FileSet) (files []*ast.File) {
	t.Helper()
	here, err := build.ImportDir(doctext.Root(t), 0)
	require.NoError(t, err)
	for _, name := range here.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(doctext.Root(t), name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// exportData gives the files with what the compiler knows of each package that this one imports.
var exportData = sync.OnceValues(func() (map[string]string, error) {
	list, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", modulePath).Output()
	exports := map[string]string{}
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if path != modulePath {
			exports[path] = file
		}
	}
	return exports, err
})

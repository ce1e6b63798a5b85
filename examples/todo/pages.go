package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"time"
)

//go:embed templates static
var files embed.FS

var pages = func() map[string]*template.Template {
	all := make(map[string]*template.Template)
	for _, name := range []string{"list", "new", "failure"} {
		all[name] = template.Must(template.ParseFS(files, "templates/layout.html", "templates/"+name+".html"))
	}
	return all
}()

// render writes a page, or nothing at all if it can't be made.
func render(w http.ResponseWriter, status int, name string, data any) error {
	var page bytes.Buffer
	if err := pages[name].ExecuteTemplate(&page, "layout.html", data); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	h.Set("Cache-Control", "no-store") // it is about now
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5") // seconds
	}
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // fails when the browser is gone
	return nil
}

// maxShown is how many items a page has. Those to be done come first, so whoever ticks off some sees the next.
const maxShown = 200

type listPage struct {
	Note     string
	Sections []section
	More     bool
	MaxShown int
}

type section struct {
	Title string
	Items []Todo
}

// newListPage takes one item more than it shows, to know whether there are more.
func newListPage(todos []Todo, note string) listPage {
	p := listPage{Note: note, More: len(todos) > maxShown, MaxShown: maxShown}
	todos = todos[:min(len(todos), maxShown)]
	open := 0
	for open < len(todos) && !todos[open].Done {
		open++
	}
	p.add("To do", todos[:open])
	p.add("Done", todos[open:])
	return p
}

func (p *listPage) add(title string, items []Todo) {
	if len(items) > 0 {
		p.Sections = append(p.Sections, section{title, items})
	}
}

// Created is for machines, CreatedText for people.
func (t Todo) Created() string     { return t.CreatedAt.UTC().Format(time.RFC3339) }
func (t Todo) CreatedText() string { return t.CreatedAt.UTC().Format("2 January 2006, 15:04 UTC") }

// staticFiles serves the style sheet and the icon. A browser asks each time whether they have changed.
func staticFiles() http.Handler {
	mux := http.NewServeMux()
	names, _ := fs.Glob(files, "static/*") // the only error is a bad pattern
	for _, name := range names {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // it is part of the program
		}
		sum := sha256.Sum256(content)
		tag := `"` + hex.EncodeToString(sum[:8]) + `"`
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("ETag", tag)
			http.ServeContent(w, r, path.Base(name), time.Time{}, bytes.NewReader(content))
		})
	}
	return mux
}

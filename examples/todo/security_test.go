package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOtherSitesAreRefused(t *testing.T) {
	s := newSite(t)
	v := s.visit(t)
	ids := s.add(t, "milk")
	for what, headers := range map[string]map[string]string{
		"cross-site":         {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
		"same-site":          {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.example"},
		"before Sec-Fetch":   {"Origin": "https://evil.example"},
		"from a sandbox":     {"Origin": "null"},
		"same host, no port": {"Origin": "http://127.0.0.1"},
	} {
		for path, form := range map[string]url.Values{"/new": item("Pay", "Evil, Inc."), "/": boxes(ids, nil)} {
			r := v.request(http.MethodPost, path, strings.NewReader(form.Encode()))
			r.Header.Del("Sec-Fetch-Site")
			for name, value := range headers {
				r.Header.Set(name, value)
			}
			page := v.do(r)
			assert.Equal(t, http.StatusForbidden, page.StatusCode, "%s %s", what, path)
			assert.Contains(t, page.main(), "Nothing was changed.")
		}
	}
	assert.Len(t, s.stored(t), 1)
	assert.Empty(t, s.done(t))

	r := v.request(http.MethodGet, "/", nil) // a link from there
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	assert.Equal(t, http.StatusOK, v.do(r).StatusCode)
}

func TestHeaders(t *testing.T) {
	v := newSite(t).visit(t)
	for _, path := range []string{"/", "/new", "/nowhere", "/static/style.css", "/static/icon.svg"} {
		h := v.get(path).Header
		assert.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'", path)
		assert.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'", path)
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
		assert.Equal(t, "same-origin", h.Get("Referrer-Policy"), path)
		assert.NotEmpty(t, h.Get("Content-Type"), path)
	}
	assert.Equal(t, "no-store", v.get("/").Header.Get("Cache-Control"))
}

func TestNoteCookie(t *testing.T) {
	w := httptest.NewRecorder()
	require.NoError(t, say(w, httptest.NewRequest(http.MethodPost, "https://todo.example/new", nil), note{Added: 1}))
	cookie := w.Result().Cookies()[0]
	assert.True(t, cookie.HttpOnly)
	assert.True(t, cookie.Secure, "it came by TLS")
	assert.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
}

func TestStaticFiles(t *testing.T) {
	v := newSite(t).visit(t)
	style := v.get("/static/style.css")
	assert.Equal(t, "text/css; charset=utf-8", style.Header.Get("Content-Type"))
	assert.NotContains(t, style.body, "@import")
	assert.NotContains(t, style.body, "url(", "nothing comes from elsewhere")
	r := v.request(http.MethodGet, "/static/style.css", nil)
	r.Header.Set("If-None-Match", style.Header.Get("ETag"))
	assert.Equal(t, http.StatusNotModified, v.do(r).StatusCode)
	for _, path := range []string{
		"/static/", "/static/nothing.css", "/static/../main.go", "/static/%2e%2e/main.go", "/favicon.ico",
	} {
		page := v.get(path)
		assert.Equal(t, http.StatusNotFound, page.StatusCode, path)
		assert.NotContains(t, page.body, "package main", path)
	}
}

func TestBadRequests(t *testing.T) {
	s := newSite(t)
	v := s.visit(t)
	many := make([]uuid.UUID, maxShown+1)
	for i := range many {
		many[i] = uuid.New()
	}
	for what, c := range map[string]struct {
		path, body string
		status     int
	}{
		"too large":      {"/new", "title=a&text=" + strings.Repeat("x", maxBody), http.StatusRequestEntityTooLarge},
		"not encoded":    {"/new", "title=%zz", http.StatusBadRequest},
		"no key":         {"/", "done=1%27+OR+true", http.StatusBadRequest},
		"too many boxes": {"/", boxes(many, nil).Encode(), http.StatusBadRequest},
		"no such page":   {"/nowhere", "", http.StatusNotFound},
	} {
		page := v.do(v.request(http.MethodPost, c.path, strings.NewReader(c.body)))
		assert.Equal(t, c.status, page.StatusCode, what)
		assert.Contains(t, page.body, `role="alert"`, what)
		assert.NotContains(t, page.main(), "Reference", "%s: nothing to look for in the log", what)
	}
	assert.Equal(t, http.StatusNotFound, v.do(v.request(http.MethodDelete, "/", strings.NewReader(""))).StatusCode)
	assert.Empty(t, s.stored(t))
}

func TestHugeHeader(t *testing.T) {
	v := newSite(t).visit(t)
	r := v.request(http.MethodGet, "/", nil)
	r.Header.Set("X-Huge", strings.Repeat("x", 2*maxHeader))
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, v.do(r).StatusCode)
}

// TestPanic has a handler that does not expect what it meets.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	a := newApp(nil, newLogger(&log)) // without a database
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.Contains(t, w.Body.String(), "Something went wrong")
	assert.NotContains(t, w.Body.String(), "nil pointer")
	assert.Contains(t, log.String(), "nil pointer")
}

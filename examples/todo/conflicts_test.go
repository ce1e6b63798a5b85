package main

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

func conflictAt(pattern string) *crdbsim.Fault {
	return crdbsim.On(pattern, crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")})
}

// TestConflictsAreNotSeen loses at each statement that a page's transactions have, and at the commit.
func TestConflictsAreNotSeen(t *testing.T) {
	s := newSite(t)
	s.needsSim(t)
	v := s.visit(t)
	ids := s.add(t, "milk", "bread")
	for pattern, ask := range map[string]func() answered{
		`^insert`:  func() answered { return v.post("/new", item("salt", "A pound.")) },
		`^release`: func() answered { return v.post("/", boxes(ids[:1], nil)) },
		`^update`:  func() answered { return v.post("/", boxes(ids[1:], ids[:1])) },
		`^select`:  func() answered { return v.get("/") },
	} {
		before, fault := s.retries(t), conflictAt(pattern)
		fault.Times = 2
		s.sim.Inject(fault)
		page := ask()
		assert.Equal(t, http.StatusOK, page.StatusCode, pattern)
		assert.NotContains(t, page.body, `role="alert"`, pattern)
		assert.Equal(t, 2, fault.Hits(), pattern)
		assert.Equal(t, before+2, s.retries(t), pattern)
	}
	assert.Len(t, s.stored(t), 3)
	assert.Contains(t, s.log.String(), "msg=conflict")
	assert.NotContains(t, s.log.String(), "level=ERROR")
}

// TestEverybodyAtOnce has many people change the same items at the same time. Each leaves one item alone; the others
// each has twice.
func TestEverybodyAtOnce(t *testing.T) {
	const people, rounds = 6, 4
	s := newSite(t)
	ids := s.add(t, "milk", "bread", "salt")
	var all sync.WaitGroup
	for n := range people {
		v := s.visit(t)
		all.Go(func() {
			for range rounds {
				for _, form := range []url.Values{boxes(ids, nil), boxes(ids[:n%3], ids)} {
					page := v.post("/", form)
					assert.Equal(t, http.StatusOK, page.StatusCode)
					assert.Contains(t, page.body, `role="status"`)
				}
				page := v.post("/new", url.Values{"title": {"pepper"}, "text": {"Black."}})
				assert.Equal(t, http.StatusOK, page.StatusCode)
			}
		})
	}
	all.Wait()
	assert.Len(t, s.stored(t), 3+people*rounds)
	assert.NotContains(t, s.log.String(), "level=ERROR")
	t.Logf("%v retries", s.retries(t))
}

// TestDatabaseFails has errors which are no conflicts. Nothing of their text reaches the page; the log has it, under
// the page's reference.
func TestDatabaseFails(t *testing.T) {
	s := newSite(t)
	s.needsSim(t)
	v := s.visit(t)
	ids := s.add(t, "milk")
	always := crdbsim.On(`^(insert|update)`, crdbsim.Action{Then: crdbsim.Cut})
	always.Times = -1 // one lost connection is replaced
	secret := crdbsim.Error{Code: "XX000", Message: "secret of the server"}
	for what, c := range map[string]struct {
		fault  *crdbsim.Fault
		status int
		words  string
	}{
		"server": {
			crdbsim.On(`^(insert|update)`, crdbsim.Action{Then: crdbsim.Fail, Error: secret}),
			http.StatusInternalServerError, "Something went wrong",
		},
		"connection": {always, http.StatusServiceUnavailable, "can't be reached"},
		"ambiguous": {
			crdbsim.On(`^release`, crdbsim.Action{Then: crdbsim.ExecuteCut}),
			http.StatusServiceUnavailable, "Perhaps it was saved",
		},
	} {
		for path, form := range map[string]url.Values{"/new": item(what, "Its text."), "/": boxes(ids, nil)} {
			s.sim.Inject(c.fault)
			page := v.post(path, form)
			assert.Equal(t, c.status, page.StatusCode, "%s %s", what, path)
			assert.Contains(t, page.main(), c.words, "%s %s", what, path)
			assert.NotContains(t, page.body, "secret", "%s %s", what, path)
			assert.NotContains(t, page.body, "SQLSTATE", "%s %s", what, path)
			reference := regexp.MustCompile(`Reference (\w+)`).FindStringSubmatch(page.main())
			require.NotNil(t, reference, page.main())
			assert.Regexp(t, `level=ERROR msg=failed id=`+reference[1]+` `, s.log.String())
			if path == "/new" {
				assert.Contains(t, page.body, `value="`+what+`"`, "what was typed is kept")
				assert.Contains(t, page.body, "Its text.</textarea>")
			}

			s.sim.ClearFaults()
			page = v.post(path, form) // as a reload does
			assert.Equal(t, http.StatusOK, page.StatusCode, "%s %s", what, path)
		}
	}
	titles := ""
	for _, item := range s.stored(t) {
		titles += item.Title + "\n"
	}
	for _, what := range []string{"server", "connection", "ambiguous"} {
		assert.Equal(t, 1, strings.Count(titles, what), "sent twice, there once")
	}
}

// TestConflictsWithoutEnd has a server on which a transaction never commits.
func TestConflictsWithoutEnd(t *testing.T) {
	s := newSite(t, func(cfg *cockroachdb.Config) { cfg.RetryPolicy.MaxAttempts = 3 })
	s.needsSim(t)
	v := s.visit(t)
	fault := conflictAt(`^insert`)
	fault.Times = -1
	s.sim.Inject(fault)
	page := v.post("/new", item("Buy milk", "Two bottles."))
	assert.Equal(t, http.StatusServiceUnavailable, page.StatusCode)
	assert.Equal(t, "5", page.Header.Get("Retry-After"))
	assert.Contains(t, page.main(), "can't be reached at the moment")
	assert.Equal(t, 3, fault.Hits())
	assert.Contains(t, page.body, "Two bottles.</textarea>")
}

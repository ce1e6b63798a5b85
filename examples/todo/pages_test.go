package main

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func item(title, text string) url.Values {
	return url.Values{"title": {title}, "text": {text}, "token": {"A"}}
}

// boxes is what a browser sends when these are ticked, and those were when the page came.
func boxes(ticked, were []uuid.UUID) url.Values {
	form := url.Values{}
	for _, id := range ticked {
		form.Add("done", id.String())
	}
	for _, id := range were {
		form.Add("was", id.String())
	}
	return form
}

func TestEmptyList(t *testing.T) {
	page := newSite(t).visit(t).get("/")
	assert.Equal(t, http.StatusOK, page.StatusCode)
	assert.Contains(t, page.main(), "There is nothing to do")
}

func TestAdd(t *testing.T) {
	s := newSite(t)
	v := s.visit(t)
	assert.Regexp(t, `name="token" value="[A-Z2-7]{26}"`, v.get("/new").body)

	page := v.post("/new", item("  Buy \t milk ", "\r\nTwo bottles,\r\nplease. "))
	assert.Equal(t, "/", page.Request.URL.Path, "sent on, so that a reload sends nothing again")
	assert.Equal(t, http.MethodGet, page.Request.Method)
	assert.Contains(t, page.main(), "The item was added.")
	all := s.stored(t)
	require.Len(t, all, 1)
	assert.Equal(t, "Buy milk", all[0].Title)
	assert.Equal(t, "Two bottles,\nplease.", all[0].Text)
	assert.False(t, all[0].Done)

	again := v.do(v.request(http.MethodGet, page.Request.URL.RequestURI(), nil))
	assert.NotContains(t, again.main(), "was added", "it is said once")
	assert.Contains(t, again.main(), "Buy milk")
}

func TestSentOn(t *testing.T) {
	v := newSite(t).visit(t)
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, form := range map[string]url.Values{"/new": item("Buy milk", "Two bottles."), "/": {}} {
		assert.Equal(t, http.StatusSeeOther, v.post(path, form).StatusCode, path)
	}
}

// TestSentTwice has somebody press the button twice, or reload after an error, and not get the item twice.
func TestSentTwice(t *testing.T) {
	s := newSite(t)
	v := s.visit(t)
	for range 2 {
		assert.Contains(t, v.post("/new", item("Buy milk", "Two bottles.")).main(), "The item was added.")
	}
	assert.Len(t, s.stored(t), 1)
	v.post("/new", item("Buy milk", "Three bottles."))
	assert.Len(t, s.stored(t), 2, "gone back, and typed something else")
}

func TestMissing(t *testing.T) {
	s := newSite(t)
	v := s.visit(t)
	for what, c := range map[string]struct {
		form             url.Values
		wanted, unwanted string
	}{
		"title": {item(" \t", "Two bottles."), "Please enter a title.", "enter a text"},
		"text":  {item("Buy milk", "\r\n "), "Please enter a text.", "enter a title"},
		"long title": {
			item(strings.Repeat("ä", maxTitle+1), "Two bottles."),
			"The title has 201 characters. Please make do with 200.", "enter a",
		},
		"long text":   {item("Buy milk", strings.Repeat("ä", maxText+1)), "The text has 5001 characters", "enter a"},
		"both, title": {item("", ""), "Please enter a title.", "characters"},
		"both, text":  {item("", ""), "Please enter a text.", "characters"},
	} {
		t.Run(what, func(t *testing.T) {
			page := v.post("/new", c.form)
			assert.Equal(t, http.StatusUnprocessableEntity, page.StatusCode)
			assert.Contains(t, page.main(), c.wanted)
			assert.NotContains(t, page.main(), c.unwanted)
			assert.Contains(t, page.body, `aria-invalid="true"`)
			assert.Equal(t, 1, strings.Count(page.body, "autofocus"), "on the first that is wrong")
			assert.Contains(t, page.body, `name="token" value="A"`)
			for _, field := range []string{"title", "text"} {
				assert.Contains(t, page.body, strings.TrimSpace(c.form.Get(field)), "what was typed is kept")
			}
		})
	}
	assert.Empty(t, s.stored(t))
}

// TestLongest is as long as can be, in characters of four bytes.
func TestLongest(t *testing.T) {
	s := newSite(t)
	title, text := strings.Repeat("😀", maxTitle), strings.Repeat("😀", maxText)
	assert.Equal(t, http.StatusOK, s.visit(t).post("/new", item(title, text)).StatusCode)
	require.Len(t, s.stored(t), 1)
	assert.Equal(t, text, s.stored(t)[0].Text)
}

// TestStorable has bytes that no text of the database can hold.
func TestStorable(t *testing.T) {
	s := newSite(t)
	s.visit(t).post("/new", item("a\x00b", "c\xffd"))
	require.Len(t, s.stored(t), 1)
	assert.Equal(t, "a\uFFFDb", s.stored(t)[0].Title)
	assert.Equal(t, "c\uFFFDd", s.stored(t)[0].Text)
}

func TestEscaping(t *testing.T) {
	s := newSite(t)
	v := s.visit(t)
	const evil = `</textarea><script>alert("1")</script>'"&amp;`
	bad := v.post("/new", item(evil, ""))
	shown := v.post("/new", item(evil, evil))
	for _, page := range []answered{bad, shown, v.post("/new", item("", evil))} {
		assert.NotContains(t, page.body, "<script")
	}
	assert.Contains(t, shown.body, `&lt;script&gt;`)
	assert.Equal(t, 2, strings.Count(shown.main(), evil), "title and text, as they were typed")
}

func TestUpdate(t *testing.T) {
	s := newSite(t)
	ids := s.add(t, "milk", "bread", "salt")
	v := s.visit(t)

	assert.Contains(t, v.post("/", boxes(ids[:2], nil)).main(), "2 items are done.")
	assert.ElementsMatch(t, []string{"milk", "bread"}, s.done(t))
	page := v.get("/")
	assert.Regexp(t, `To do 1 salt .*Done 2 milk .*bread `, page.main())
	assert.Equal(t, 2, strings.Count(page.body, " checked>"))
	assert.Equal(t, 2, strings.Count(page.body, `name="was"`))

	assert.Contains(t, v.post("/", boxes(ids[1:], ids[:2])).main(), "One item is done. One item is to be done again.")
	assert.ElementsMatch(t, []string{"bread", "salt"}, s.done(t))
	assert.Contains(t, v.post("/", boxes(ids[1:], ids[1:])).main(), "Nothing was changed.")

	gone := append(boxes([]uuid.UUID{uuid.New()}, nil)["done"], ids[0].String())
	assert.Contains(t, v.post("/", url.Values{"done": gone}).main(), "One item is done. One item is no longer there.")
}

// TestOthersTicks has two pages of the same list sent one after the other. The later one has seen nothing of what the
// first did.
func TestOthersTicks(t *testing.T) {
	s := newSite(t)
	ids := s.add(t, "milk", "bread", "salt")
	s.visit(t).post("/", boxes(ids[:1], nil))
	s.visit(t).post("/", boxes(ids[1:2], nil))
	assert.ElementsMatch(t, []string{"milk", "bread"}, s.done(t), "the second one had milk unticked, as it came")
}

func TestNotesOfTabs(t *testing.T) {
	s := newSite(t)
	ids := s.add(t, "milk")
	v := s.visit(t)
	var next []string
	v.client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		next = append(next, r.URL.RequestURI())
		return http.ErrUseLastResponse
	}
	v.post("/new", item("bread", "A loaf."))
	v.post("/", boxes(ids, nil))
	require.Len(t, next, 2)
	assert.Contains(t, v.get(next[1]).main(), "One item is done.")
	assert.Contains(t, v.get(next[0]).main(), "The item was added.")
}

// TestForgedNote has a cookie that another page of the host may have set.
func TestForgedNote(t *testing.T) {
	v := newSite(t).visit(t)
	for _, value := range []string{"Call+0123", "1.2", "", "9999999999999999999999.0.0.0"} {
		r := v.request(http.MethodGet, "/?note=x", nil)
		r.Header.Set("Cookie", "note-x="+value)
		page := v.do(r)
		assert.Equal(t, http.StatusOK, page.StatusCode)
		assert.NotContains(t, page.body, `role="status"`, value)
	}
}

func TestMoreThanShown(t *testing.T) {
	s := newSite(t)
	require.NoError(t, s.db.WithContext(t.Context()).Exec(
		"INSERT INTO todos SELECT gen_random_uuid(), 'title', 'text', false, now() FROM generate_series(1, ?)", maxShown+1).Error)
	page := s.visit(t).get("/")
	assert.Equal(t, maxShown, strings.Count(page.body, "<li>"))
	assert.Contains(t, page.main(), "These are the first 200.")
}

// TestMarkup looks for what people who can't see, or can't use a mouse, need.
func TestMarkup(t *testing.T) {
	s := newSite(t)
	ids := s.add(t, "milk")
	v := s.visit(t)
	pages := map[string]answered{
		"list": v.get("/"), "new": v.get("/new"), "wrong": v.post("/new", item("", "")), "failure": v.get("/nowhere"),
	}
	for name, page := range pages {
		assert.Contains(t, page.body, `<html lang="en">`, name)
		assert.Contains(t, page.body, `<meta name="viewport" content="width=device-width, initial-scale=1">`, name)
		assert.Equal(t, 1, strings.Count(page.body, "<h1"), name)
		assert.Equal(t, 1, strings.Count(page.body, "<main>"), name)
		assert.NotRegexp(t, `(?i)<script|style=|\son\w+=|http:|https:`, page.body, name)
		fields := regexp.MustCompile(`<(?:input type="checkbox"|input id|textarea)[^>]*`)
		for _, field := range fields.FindAllString(page.body, -1) {
			id := regexp.MustCompile(` id="([^"]+)"`).FindStringSubmatch(field)
			require.NotNil(t, id, field)
			assert.Contains(t, page.body, `<label for="`+id[1]+`">`, name)
		}
		seen := make(map[string]bool)
		for _, id := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page.body, -1) {
			assert.False(t, seen[id[1]], "%s: %s is there twice", name, id[1])
			seen[id[1]] = true
		}
		for _, refers := range regexp.MustCompile(` aria-describedby="([^"]+)"`).FindAllStringSubmatch(page.body, -1) {
			assert.True(t, seen[refers[1]], "%s: %s is nowhere", name, refers[1])
		}
	}
	titles := make(map[string]bool)
	for _, page := range pages {
		titles[regexp.MustCompile(`<title>(.*)</title>`).FindStringSubmatch(page.body)[1]] = true
	}
	assert.Len(t, titles, len(pages), "each page has a title of its own: %v", slices.Collect(maps.Keys(titles)))
	assert.Contains(t, v.post("/", boxes(ids, nil)).body, `role="status"`)
	assert.Contains(t, pages["failure"].body, `role="alert"`)
}

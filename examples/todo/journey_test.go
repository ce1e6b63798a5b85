package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// TestJourney is somebody's who has a keyboard and no mouse.
func TestJourney(t *testing.T) {
	s := newSite(t)
	b := newVisitor(t, newBrowser(t))
	b.open(s.URL)
	assert.Contains(t, b.text("main"), "There is nothing to do.")
	b.shoot("empty")

	b.keys(kb.Tab + kb.Tab)
	b.focus(`[href="/new"]`)
	assert.NotEqual(t, "none", value[string](b, "getComputedStyle(document.activeElement).outlineStyle"),
		"the focus can be seen")
	b.follow(chromedp.KeyEvent(kb.Enter))
	b.focus("#title") // one can begin to type

	b.keys("Buy milk")
	b.follow(chromedp.KeyEvent(kb.Enter))
	assert.Contains(t, b.text("main"), "Please enter a text.")
	b.focus("#text") // on what is missing
	assert.Equal(t, "Buy milk", value[string](b, "document.querySelector('#title').value"))
	b.shoot("missing")
	b.do(chromedp.Reload())
	assert.Equal(t, "Buy milk", value[string](b, "document.querySelector('#title').value"), "the form survives a reload")
	b.focus("#text")
	assert.Empty(t, s.stored(t))

	b.keys("Two bottles <b>of a litre</b>." + kb.Tab)
	b.follow(chromedp.KeyEvent(kb.Enter))
	assert.Equal(t, "The item was added.", b.text("[role=status]"))
	assert.Contains(t, b.text("main"), "Two bottles <b>of a litre</b>.")
	b.shoot("added")
	for range 2 {
		b.do(chromedp.Reload())
		assert.NotContains(t, b.text("main"), "was added")
		assert.Len(t, s.stored(t), 1, "a reload adds nothing")
	}

	b.keys(kb.Tab + kb.Tab + kb.Tab)
	b.focus("[type=checkbox]")
	b.keys(" ")
	b.shoot("ticked")
	b.follow(chromedp.KeyEvent(kb.Tab + kb.Enter))
	assert.Equal(t, "One item is done.", b.text("[role=status]"))
	assert.Equal(t, []string{"Buy milk"}, s.done(t))
	assert.True(t, value[bool](b, "document.querySelector('[type=checkbox]').checked"))
	b.do(chromedp.NavigateBack())
	b.do(chromedp.Reload())
	assert.Equal(t, []string{"Buy milk"}, s.done(t), "going back changes nothing")
}

// TestLooks looks at each page on a desk and on a phone, by day and by night.
func TestLooks(t *testing.T) {
	s := newSite(t)
	ids := s.add(t, "Water the plants", "Call the dentist", "Buy milk")
	s.visit(t).post("/", boxes(ids[2:], nil))
	contrast, err := os.ReadFile("testdata/contrast.js")
	require.NoError(t, err)
	b := newVisitor(t, newBrowser(t))
	b.open(s.URL)
	b.do(chromedp.Click(box(ids[1])))
	b.resize([2]int64{720, 560})
	b.shoot("readme") // docs/list.png
	s.add(t, strings.Repeat("Donaudampfschifffahrt", 9))

	pages := map[string]func(){
		"list":    func() { b.open(s.URL); b.do(chromedp.Click(chromedp.CSS("#done-" + ids[1].String()))) },
		"new":     func() { b.open(s.URL + "/new") },
		"wrong":   func() { b.open(s.URL + "/new"); b.follow(chromedp.Click(chromedp.CSS("button"))) },
		"failure": func() { b.open(s.URL + "/nowhere") },
	}
	if s.sim != nil {
		pages["unsaved"] = func() {
			s.sim.Inject(crdbsim.On(`^insert`, crdbsim.Action{Then: crdbsim.Cut}))
			b.open(s.URL + "/new")
			b.do(chromedp.SendKeys(chromedp.CSS("#title"), "Buy milk"), chromedp.SendKeys(chromedp.CSS("#text"), "Two bottles."))
			b.follow(chromedp.Click(chromedp.CSS("button")))
			assert.Contains(t, b.text("[role=alert]"), "Nothing was saved.")
		}
	}
	for name, show := range pages {
		show()
		for device, size := range map[string][2]int64{"desktop": desktop, "phone": phone} {
			b.resize(size)
			assert.LessOrEqual(t, value[int](b, "document.documentElement.scrollWidth"), int(size[0]),
				"%s on a %s can be scrolled sideways", name, device)
			for _, scheme := range []string{"light", "dark"} {
				b.scheme(scheme)
				assert.Empty(t, value[[]string](b, string(contrast)), "%s, %s", name, scheme)
				b.shoot(name + "-" + device + "-" + scheme)
			}
		}
		assert.Empty(t, value[[]string](b, `[...document.querySelectorAll("button, .button, .field input, textarea, li")]
			.filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)`), "%s: too small for a finger", name)
	}
}

// TestAttack has a page of another site send a form to ours from the browser of somebody who uses it.
func TestAttack(t *testing.T) {
	s := newSite(t)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form method="post" action="%s/new"><input name="title" value="Pay"><input name="text" value="Evil, Inc."><button>Win!</button></form>`, s.URL)
	}))
	defer evil.Close()
	b := newVisitor(t, newBrowser(t))
	b.open(evil.URL)
	b.follow(chromedp.Click(chromedp.CSS("button")))
	assert.Contains(t, b.text("main"), "Nothing was changed.")
	assert.Empty(t, s.stored(t))
	b.shoot("refused")

	b.follow(chromedp.Click(chromedp.CSS("main a")))
	b.follow(chromedp.Click(chromedp.CSS("header .button")))
	b.do(chromedp.SendKeys(chromedp.CSS("#title"), "Buy milk"), chromedp.SendKeys(chromedp.CSS("#text"), "Two bottles."))
	b.follow(chromedp.Click(chromedp.CSS("button")))
	assert.Len(t, s.stored(t), 1, "from our own page it goes")
}

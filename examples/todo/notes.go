package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
)

// note is what the page says about the action before. It travels in a cookie of its own to the page that the browser
// is sent to, which deletes it: two tabs can't take each other's, and after a reload it is gone. It holds numbers
// alone, so that whoever could set a cookie could not put words into the page.
type note struct{ Added, Done, Reopened, Missing int }

const noteFormat = "%d.%d.%d.%d"

// say sends the browser on to the list, so that a reload of what it shows then sends nothing again.
func say(w http.ResponseWriter, r *http.Request, n note) error {
	name := rand.Text()[:8]
	setNote(w, r, name, fmt.Sprintf(noteFormat, n.Added, n.Done, n.Reopened, n.Missing), 60)
	http.Redirect(w, r, "/?note="+name, http.StatusSeeOther)
	return nil
}

// heard takes the note that the browser brings; empty if it brings none.
func heard(w http.ResponseWriter, r *http.Request) string {
	name := r.URL.Query().Get("note")
	cookie, err := r.Cookie("note-" + name)
	if err != nil {
		return ""
	}
	setNote(w, r, name, "", -1)
	var n note
	if _, err := fmt.Sscanf(cookie.Value, noteFormat, &n.Added, &n.Done, &n.Reopened, &n.Missing); err != nil {
		return ""
	}
	return n.String()
}

func setNote(w http.ResponseWriter, r *http.Request, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: "note-" + name, Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}

func (n note) String() string {
	var parts []string
	add := func(count int, one, many string) {
		switch {
		case count == 1:
			parts = append(parts, one)
		case count > 1:
			parts = append(parts, fmt.Sprintf(many, count))
		}
	}
	add(n.Added, "The item was added.", "%d items were added.")
	add(n.Done, "One item is done.", "%d items are done.")
	add(n.Reopened, "One item is to be done again.", "%d items are to be done again.")
	add(n.Missing, "One item is no longer there.", "%d items are no longer there.")
	if parts == nil {
		return "Nothing was changed."
	}
	return strings.Join(parts, " ")
}

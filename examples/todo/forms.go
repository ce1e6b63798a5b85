package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// As the columns have it, in characters.
const (
	maxTitle = 200
	maxText  = 5000
)

// form is the form for a new item: what was typed, and what is wrong with it.
type form struct {
	Token                   string // of the sheet of paper, so to say: the same however often it is sent
	Title, Text             string
	TitleProblem            string
	TextProblem             string
	Failure                 *failure
	MaxTitle, MaxText, Rows int
}

func newForm() form {
	return form{Token: rand.Text(), MaxTitle: maxTitle, MaxText: maxText, Rows: 6}
}

// readForm takes what was sent as a browser sends it, in a shape in which the database can keep it.
func readForm(r *http.Request) (form, error) {
	if err := parse(r); err != nil {
		return form{}, err
	}
	f := newForm()
	if token := r.PostForm.Get("token"); token != "" {
		f.Token = storable(token)
	}
	f.Title = strings.Join(strings.Fields(storable(r.PostForm.Get("title"))), " ")
	f.Text = strings.TrimSpace(strings.ReplaceAll(storable(r.PostForm.Get("text")), "\r\n", "\n"))
	f.TitleProblem = problem("title", f.Title, maxTitle)
	f.TextProblem = problem("text", f.Text, maxText)
	return f, nil
}

// parse reads a form, if it is one and not too long.
func parse(r *http.Request) error {
	err := r.ParseForm()
	if err == nil || isA[*http.MaxBytesError](err) || r.Context().Err() != nil {
		return err
	}
	return errNotOurForm
}

// storable replaces what a text of the database can't hold.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func problem(what, value string, most int) string {
	n := utf8.RuneCountInString(value)
	switch {
	case n == 0:
		return fmt.Sprintf("Please enter a %s.", what)
	case n > most:
		return fmt.Sprintf("The %s has %d characters. Please make do with %d.", what, n, most)
	}
	return ""
}

func (f form) valid() bool { return f.TitleProblem == "" && f.TextProblem == "" }

// id is the key of the item: the same if the same form is sent again with the same words, so that one that is sent
// twice makes one item. It is made here and not by the server, so that it is the same in each attempt of the
// transaction, too.
func (f form) id() uuid.UUID {
	return uuid.NewSHA1(uuid.Nil, []byte(f.Token+"\x00"+f.Title+"\x00"+f.Text))
}

// changedBoxes compares the boxes that are ticked now with those that were ticked when the page was made.
func changedBoxes(r *http.Request) (ticked, cleared []uuid.UUID, err error) {
	if err := parse(r); err != nil {
		return nil, nil, err
	}
	is, err := keys(r.PostForm["done"])
	if err != nil {
		return nil, nil, err
	}
	was, err := keys(r.PostForm["was"])
	if err != nil {
		return nil, nil, err
	}
	return without(is, was), without(was, is), nil
}

func keys(values []string) ([]uuid.UUID, error) {
	if len(values) > maxShown {
		return nil, errNotOurForm
	}
	ids := make([]uuid.UUID, len(values))
	for i, v := range values {
		id, err := uuid.Parse(v)
		if err != nil {
			return nil, errNotOurForm
		}
		ids[i] = id
	}
	return ids, nil
}

// without are the keys in all that are not in others, each once.
func without(all, others []uuid.UUID) []uuid.UUID {
	skip := make(map[uuid.UUID]bool, len(all)+len(others))
	for _, id := range others {
		skip[id] = true
	}
	var rest []uuid.UUID
	for _, id := range all {
		if !skip[id] {
			skip[id] = true
			rest = append(rest, id)
		}
	}
	return rest
}

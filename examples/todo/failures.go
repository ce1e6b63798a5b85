package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/http"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb"
)

// failure is an error for the people in front of the page: what happened, what has become of their words, and what to
// do.
type failure struct {
	Status    int
	Title     string
	Text      string
	Reference string // by which it can be found in the log; empty if there is nothing to find
}

func (f *failure) Error() string { return f.Title }

var (
	errNoSuchPage = &failure{
		Status: http.StatusNotFound, Title: "There is no such page",
		Text: "The address may be mistyped. Go to the list from here.",
	}
	errOtherSite = &failure{
		Status: http.StatusForbidden, Title: "This did not come from the list",
		Text: "Another site, or a page opened there, tried to change the list. Nothing was changed. If it was you, go to the list and do it there.",
	}
	errNotOurForm = &failure{
		Status: http.StatusBadRequest, Title: "This form can't be understood",
		Text: "Nothing was changed. Go to the list, and try again from there.",
	}
	errTooLarge = &failure{
		Status: http.StatusRequestEntityTooLarge, Title: "That is too much",
		Text: "Nothing was saved. Go back, and shorten what you have typed.",
	}
	errBusy = &failure{
		Status: http.StatusServiceUnavailable, Title: "The list can't be reached at the moment",
		Text: "Nothing was saved. Wait a little, then send it again; reloading this page does that, too.",
	}
	errUnclear = &failure{
		Status: http.StatusServiceUnavailable, Title: "Perhaps it was saved, perhaps not",
		Text: "The connection to the database broke at the very end. Send it again to be sure: what is there already will not be there twice.",
	}
	errUnforeseen = &failure{
		Status: http.StatusInternalServerError, Title: "Something went wrong",
		Text: "It has been written to the log. Go back and try again; if it happens again, tell whoever runs this list.",
	}
)

// explain is what to tell of an error. What must be looked into, and what the error says itself, goes to the log.
func (a *app) explain(r *http.Request, err error) *failure {
	known := classify(err)
	if known == errUnforeseen && r.Context().Err() != nil {
		known = errBusy // GORM keeps no more than the text of an error that a second one follows
	}
	if known.Status < http.StatusInternalServerError {
		return known
	}
	a.logger.ErrorContext(r.Context(), "failed", "id", requestID(r.Context()), "error", err)
	told := *known
	told.Reference = requestID(r.Context())
	return &told
}

func classify(err error) *failure {
	switch {
	case isA[*failure](err):
		known, _ := errors.AsType[*failure](err)
		return known
	case isA[*http.MaxBytesError](err):
		return errTooLarge
	case isA[*cockroachdb.AmbiguousCommitError](err):
		return errUnclear
	case isA[*cockroachdb.DivergenceError](err), isA[*cockroachdb.RetriesExhaustedError](err),
		isA[*cockroachdb.NotReplayableError](err), isA[*cockroachdb.ConnectionLostError](err),
		isA[*pgconn.ConnectError](err),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, context.DeadlineExceeded):
		return errBusy
	}
	return errUnforeseen
}

func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// fail answers with a page that says what happened.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) {
		return // the browser is gone
	}
	told := a.explain(r, err)
	if err := render(w, told.Status, "failure", told); err != nil {
		http.Error(w, told.Title, told.Status)
	}
}

package main

import (
	"log/slog"
	"net/http"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// app is the web page.
type app struct {
	db     *gorm.DB
	logger *slog.Logger
	csrf   *http.CrossOriginProtection
}

func newApp(db *gorm.DB, logger *slog.Logger) *app {
	a := &app{db: db, logger: logger, csrf: http.NewCrossOriginProtection()}
	a.csrf.SetDenyHandler(answer(a, func(http.ResponseWriter, *http.Request) error { return errOtherSite }))
	return a
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", answer(a, a.list))
	mux.Handle("POST /{$}", answer(a, a.update))
	mux.Handle("GET /new", answer(a, a.blank))
	mux.Handle("POST /new", answer(a, a.create))
	mux.Handle("GET /static/", staticFiles())
	mux.Handle("/", answer(a, func(http.ResponseWriter, *http.Request) error { return errNoSuchPage }))
	return logged(a.logger, secured(a.recovering(a.csrf.Handler(bounded(mux)))))
}

// answer has a handler's error answered with a page that says it.
func answer(a *app, h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}

// list shows what is to be done, the newest first, and then what is done.
func (a *app) list(w http.ResponseWriter, r *http.Request) error {
	var todos []Todo
	err := a.db.WithContext(r.Context()).Order("done, created_at DESC, id").Limit(maxShown + 1).Find(&todos).Error
	if err != nil {
		return err
	}
	return render(w, http.StatusOK, "list", newListPage(todos, heard(w, r)))
}

// update sets the boxes that the user has changed, and leaves alone what others have done meanwhile to the rest.
func (a *app) update(w http.ResponseWriter, r *http.Request) error {
	ticked, cleared, err := changedBoxes(r)
	if err != nil {
		return err
	}
	tx := a.db.WithContext(r.Context()).Begin()
	defer tx.Rollback()
	done, err := setDone(tx, ticked, true)
	if err != nil {
		return err
	}
	reopened, err := setDone(tx, cleared, false)
	if err != nil {
		return err
	}
	if err := tx.Commit().Error; err != nil {
		return err
	}
	return say(w, r, note{Done: done, Reopened: reopened, Missing: len(ticked) + len(cleared) - done - reopened})
}

// setDone says how many of the items there were.
func setDone(tx *gorm.DB, ids []uuid.UUID, done bool) (int, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	set := tx.Model(&Todo{}).Where("id IN ?", ids).Update("done", done)
	return int(set.RowsAffected), set.Error
}

// blank shows the form for a new item.
func (a *app) blank(w http.ResponseWriter, _ *http.Request) error {
	return render(w, http.StatusOK, "new", newForm())
}

// create adds an item, or shows the form again, with what was typed and what is wrong with it.
func (a *app) create(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	if !form.valid() {
		return render(w, http.StatusUnprocessableEntity, "new", form)
	}
	item := Todo{ID: form.id(), Title: form.Title, Text: form.Text}
	err = a.db.WithContext(r.Context()).Clauses(clause.OnConflict{DoNothing: true}).Create(&item).Error
	if err != nil {
		form.Failure = a.explain(r, err)
		return render(w, form.Failure.Status, "new", form)
	}
	return say(w, r, note{Added: 1})
}

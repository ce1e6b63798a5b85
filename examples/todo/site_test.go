package main

import (
	"bytes"
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// site is the page, served from an empty list of its own.
type site struct {
	*httptest.Server
	dsn     string
	db      *database
	sim     *crdbsim.Sim // nil on a real CockroachDB
	metrics *cockroachdb.Metrics
	log     *buffer
}

func newSite(t *testing.T, changes ...func(*cockroachdb.Config)) *site {
	t.Helper()
	s := &site{metrics: cockroachdb.NewMetrics(), log: new(buffer)}
	if enginetest.Get(t).IsCockroach() {
		s.dsn = enginetest.NewDB(t)
	} else {
		s.sim, s.dsn = enginetest.NewSim(t, crdbsim.Config{})
	}
	logger := newLogger(s.log)
	cfg, err := configure(options{url: s.dsn}, logger)
	require.NoError(t, err)
	cfg.Metrics = s.metrics
	for _, change := range changes {
		change(cfg)
	}
	s.db, err = openConfig(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.db.close()) })
	require.NoError(t, s.db.createTable(t.Context()))
	s.Server = httptest.NewUnstartedServer(nil)
	s.Config = newServer(newApp(s.db.DB, logger).handler(), logger)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// needsSim is for tests that make the server fail.
func (s *site) needsSim(t *testing.T) {
	t.Helper()
	if s.sim == nil {
		t.Skip("injects faults, which needs crdbsim; this engine is " + enginetest.Get(t).Name())
	}
}

// add puts items into the database, the first one on top.
func (s *site) add(t *testing.T, titles ...string) []uuid.UUID {
	t.Helper()
	var ids []uuid.UUID
	for i, title := range titles {
		item := Todo{
			ID: uuid.New(), Title: title, Text: "About " + title, CreatedAt: time.Now().Add(-time.Duration(i) * time.Minute),
		}
		require.NoError(t, s.db.WithContext(t.Context()).Create(&item).Error)
		ids = append(ids, item.ID)
	}
	return ids
}

// stored are the items of the database, oldest first.
func (s *site) stored(t *testing.T) []Todo {
	t.Helper()
	var all []Todo
	require.NoError(t, s.db.WithContext(t.Context()).Order("created_at, id").Find(&all).Error)
	return all
}

// done are the titles of the items that are done.
func (s *site) done(t *testing.T) (titles []string) {
	t.Helper()
	for _, item := range s.stored(t) {
		if item.Done {
			titles = append(titles, item.Title)
		}
	}
	return titles
}

// count is a counter of the driver's, over all labels.
func (s *site) count(t *testing.T, name string) (sum float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.metrics)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "cockroachdb_"+name {
			for _, m := range family.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func (s *site) retries(t *testing.T) float64 { return s.count(t, "transaction_retries_total") }

// answered is an answer that has been read.
type answered struct {
	*http.Response
	body string
}

// main is the text of the page, without its markup.
func (a answered) main() string {
	_, main, _ := strings.Cut(a.body, "<main>")
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(main, " ")
	return strings.Join(strings.Fields(html.UnescapeString(text)), " ")
}

// visitor is somebody with a browser of their own.
type visitor struct {
	t       *testing.T
	address string
	client  *http.Client
}

func (s *site) visit(t *testing.T) visitor {
	t.Helper()
	return newVisit(t, s.URL)
}

// newVisit is somebody who follows redirections.
func newVisit(t *testing.T, address string) visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return visitor{t, address, &http.Client{Jar: jar, Transport: transport}}
}

func (v visitor) get(path string) answered {
	v.t.Helper()
	return v.do(v.request(http.MethodGet, path, nil))
}

func (v visitor) post(path string, form url.Values) answered {
	v.t.Helper()
	return v.do(v.request(http.MethodPost, path, strings.NewReader(form.Encode())))
}

func (v visitor) request(method, path string, body io.Reader) *http.Request {
	v.t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(v.t.Context()), method, v.address+path, body)
	require.NoError(v.t, err)
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

func (v visitor) do(r *http.Request) answered {
	v.t.Helper()
	response, err := v.client.Do(r)
	require.NoError(v.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(v.t, err)
	return answered{response, string(body)}
}

// buffer may be written to and read at the same time.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

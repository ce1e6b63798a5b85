package cockroachdb

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Report returns what has become of the connector's transactions so far. It may be called at any time, and while
// others run statements; counts that belong together may then be a few apart.
func (c *Connector) Report() Report {
	r := c.pool.ledger.report()
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	r.DBName = c.pool.dbName
	return r
}

// ReportHandler returns a handler that serves the report of the moment, as text, or as JSON where the request accepts
// application/json or has format=json. The report shows names of tables and columns: don't serve it to the public.
func (c *Connector) ReportHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		report := c.Report()
		if r.FormValue("format") != "json" && !strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = fmt.Fprint(w, report)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		_ = e.Encode(report)
	})
}

package crdbsim

import "net/http"

// Ready reports what the health check of a load balancer is told: whether the node serves. A node that is silent or
// dead is not ready.
func (s *Sim) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == Serving && !s.closed
}

// listens reports whether the node hears what others tell it.
func (s *Sim) listens() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase != Silent && s.phase != Dead
}

// ServeHTTP answers as CockroachDB does at /health: 200, or with the parameter ready=1 and a node that is on its way
// down 503. A node that is silent or dead does not answer; the connection is closed when the client gives up, or at
// once.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.gate.pass(s.done, r.Context().Done())
	switch {
	case r.Context().Err() != nil, !s.listens():
		panic(http.ErrAbortHandler)
	case r.URL.Path != "/health":
		http.NotFound(w, r)
	case r.FormValue("ready") == "1" && !s.Ready():
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

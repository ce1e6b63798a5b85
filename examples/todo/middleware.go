package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// contentSecurityPolicy allows the style sheet, the icon, and forms that go to this server. There are no scripts.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secured has headers that keep a browser from doing with a page what it is not for.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// bounded bounds what a request may send, and how long it may take.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// recovering answers a request whose handler panicked.
func (a *app) recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch reason := recover(); reason {
			case nil:
			case http.ErrAbortHandler:
				panic(reason)
			default:
				a.logger.ErrorContext(r.Context(), "panic", "id", requestID(r.Context()),
					"reason", reason, "stack", string(debug.Stack()))
				a.fail(w, r, fmt.Errorf("panic: %v", reason))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// logged gives each request a name and writes a line about it.
func logged(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		ctx := context.WithValue(r.Context(), requestKey{}, rand.Text()[:8])
		watched := &watchedWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(watched, r.WithContext(ctx))
		if errors.Is(ctx.Err(), context.Canceled) {
			watched.status = 499 // as nginx has it: nobody was there to take the answer
		}
		logger.InfoContext(ctx, "request", "id", requestID(ctx), "method", r.Method, "path", r.URL.Path,
			"status", watched.status, "took", time.Since(began).Round(time.Microsecond))
	})
}

type requestKey struct{}

// requestID is the name of the request that a context belongs to, for the log; empty if it is no request's.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// watchedWriter remembers the status.
type watchedWriter struct {
	http.ResponseWriter
	status int
}

func (w *watchedWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

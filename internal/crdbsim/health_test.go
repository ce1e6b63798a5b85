package crdbsim

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHealth_EachPhase(t *testing.T) {
	t.Parallel()
	w := newCluster(t)
	n := w.Node(1)
	server := httptest.NewServer(n)
	defer server.Close()
	for p := Serving; p <= Dead; p++ {
		require.NoError(t, n.Enter(p))
		live, ready, other := "200", "503", "404"
		switch p {
		case Serving:
			ready = "200"
		case Silent, Dead:
			live, ready, other = "none", "none", "none"
		}
		for path, want := range map[string]string{"/health": live, "/health?ready=1": ready, "/": other} {
			assert.Equal(t, want, ask(t, server.URL+path, p), "%s in phase %d", path, p)
		}
		assert.Equal(t, p == Serving, n.Ready())
	}
	require.NoError(t, n.Return())
	assert.Equal(t, "200", ask(t, server.URL+"/health?ready=1", Serving))
}

// ask returns the status that a health check gets, or that it gets no answer.
func ask(t *testing.T, url string, p Phase) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	if p == Silent {
		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	}
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "none"
	}
	require.NoError(t, answer.Body.Close())
	return fmt.Sprint(answer.StatusCode)
}

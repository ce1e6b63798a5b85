package exactlyonce_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

const (
	askAbout = "EXACTLYONCE_ASK_ABOUT" // the text of an AmbiguousCommitError
	askAt    = "EXACTLYONCE_ASK_AT"    // a DSN
)

// A commit is asked for by two processes that are not the one which has lost it, while it arrives.
func TestCommitOutcome_AskedByTwoProcesses_CommitArrives_OneAnswer(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		lost, deliver := s.commitHeldBack(t)
		text, err := lost.MarshalText()
		require.NoError(t, err)

		answers := make([]bool, 2)
		var all sync.WaitGroup
		for n := range answers {
			all.Go(func() { answers[n] = askElsewhere(t, s.dsn, string(text)) })
		}
		all.Go(func() { assert.NoError(t, deliver()) })
		all.Wait()
		is := s.number(t, "SELECT n FROM accounts WHERE id = 1") == 1
		assert.Equal(t, []bool{is, is}, answers)
		assert.Equal(t, is, askElsewhere(t, s.dsn, string(text)), "asked again")
	})
}

// askElsewhere has another process ask whether the commit of an error is carried out.
func askElsewhere(t *testing.T, dsn, text string) (committed bool) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), askAbout+"="+text, askAt+"="+dsn)
	out, err := cmd.Output()
	if !assert.NoError(t, err, string(out)) {
		return false
	}
	committed, err = strconv.ParseBool(string(out))
	assert.NoError(t, err)
	return committed
}

// asked is the other process. It returns its exit status.
func asked(text string) int {
	lost := &cockroachdb.AmbiguousCommitError{}
	committed, err := false, lost.UnmarshalText([]byte(text))
	if err == nil {
		committed, err = askWith(context.Background(), os.Getenv(askAt), lost)
	}
	if err != nil {
		fmt.Print(err)
		return 1
	}
	fmt.Print(committed)
	return 0
}

func askWith(ctx context.Context, dsn string, lost error) (committed bool, err error) {
	db, err := sql.Open("cockroachdb", dsn)
	if err != nil {
		return false, err
	}
	defer db.Close()
	return cockroachdb.CommitOutcome(ctx, db, lost)
}

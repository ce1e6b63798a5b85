package cockroachdb

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func markedError() *AmbiguousCommitError {
	name := `"bank"."public"."commit_markers"`
	return &AmbiguousCommitError{
		alone: true, err: errElsewhere, mark: &marker{
			table: &markTable{name: name}, known: &known{name: name, epoch: newUID()}, key: newUID(),
			at: time.Now().UTC().Truncate(time.Second),
		},
	}
}

func TestAmbiguousCommitError_Text_IsReadBack(t *testing.T) {
	t.Parallel()
	was := markedError()
	text, err := json.Marshal(map[string]any{"transfer 7": was})
	require.NoError(t, err)
	is := map[string]*AmbiguousCommitError{}
	require.NoError(t, json.Unmarshal(text, &is))
	assert.Equal(t, was, is["transfer 7"])
}

func TestAmbiguousCommitError_NoMarker_HasNoText(t *testing.T) {
	t.Parallel()
	_, err := (&AmbiguousCommitError{}).MarshalText()
	require.ErrorIs(t, err, errNoMark)
}

// The table's name goes into SQL.
func TestAmbiguousCommitError_TextOfSomebodyElse_IsRefused(t *testing.T) {
	t.Parallel()
	good, err := markedError().MarshalText()
	require.NoError(t, err)
	for _, change := range [][2]string{
		{"key=", "yek="},
		{"epoch=", "epoch=0"},
		{"sent=", "sent=x"},
		{"table=%22bank", "table=%22ba%22nk"},
		{"table=%22bank%22", "table=bank"},
		{"commit_markers%22", "commit_markers%22+AS+m%3B+DROP+TABLE+t"},
		{"table=", "table=%22a%22."},
		{"&key", ";key"},
	} {
		text := strings.Replace(string(good), change[0], change[1], 1)
		require.NotEqual(t, string(good), text)
		is := &AmbiguousCommitError{}
		require.Error(t, is.UnmarshalText([]byte(text)), text)
		assert.Zero(t, *is)
	}
}

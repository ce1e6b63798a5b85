package exactlyonce_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/reliability/exactlyonce"
)

func TestExplore_OneClient_HasEveryPropertyAndTakesEveryStep(t *testing.T) {
	t.Parallel()
	result := exactlyonce.Explore(exactlyonce.OneClient(), exactlyonce.None)
	requireHolds(t, result)
	for words, taken := range result.Taken {
		if strings.Contains(words, "after its COMMIT") { // only a mistake does that
			assert.Zero(t, taken, words)
			continue
		}
		assert.NotZero(t, taken, words)
	}
}

func TestExplore_TwoClients_HasEveryProperty(t *testing.T) {
	t.Parallel()
	requireHolds(t, exactlyonce.Explore(exactlyonce.TwoClients(), exactlyonce.None))
}

func TestExplore_Mistake_BreaksItsProperty(t *testing.T) {
	t.Parallel()
	for _, planted := range exactlyonce.Mistakes() {
		t.Run(string(planted.Mistake), func(t *testing.T) {
			t.Parallel()
			result := exactlyonce.Explore(planted.Bounds, planted.Mistake, planted.Breaks)
			require.NotNil(t, result.Violation)
			assert.Equal(t, planted.Breaks, result.Violation.Property)
		})
	}
}

// A property that no mistake breaks might as well not be checked.
func TestMistakes_BreakEveryProperty(t *testing.T) {
	t.Parallel()
	broken := map[exactlyonce.Property]bool{}
	for _, planted := range exactlyonce.Mistakes() {
		broken[planted.Breaks] = true
	}
	for _, property := range exactlyonce.Properties() {
		assert.True(t, broken[property], property)
	}
}

// Nobody else can ask then: a marker that the client's own question has found may be deleted like a confirmed one.
func TestExplore_SecretKeys_AskedMarkerMayBeDeleted(t *testing.T) {
	t.Parallel()
	bounds := exactlyonce.Bounds{Transactions: []int{2}, Commits: 2, SecretKeys: true}
	requireHolds(t, exactlyonce.Explore(bounds, exactlyonce.DeletesAsked))
}

func TestExplore_SameBounds_SameResult(t *testing.T) {
	t.Parallel()
	explore := func() exactlyonce.Result {
		return exactlyonce.Explore(exactlyonce.OneClient(), exactlyonce.AsksByReading)
	}
	assert.Equal(t, explore(), explore())
}

func requireHolds(t *testing.T, result exactlyonce.Result) {
	t.Helper()
	if v := result.Violation; v != nil {
		require.Fail(t, string(v.Property)+" does not hold", strings.Join(v.Trace, "\n"))
	}
	t.Logf("%d states, %d steps, depth %d", result.States, result.Steps, result.Depth)
}

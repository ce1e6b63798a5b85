package program

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStacksAtDeadline_Reached_SaysWhereTheGoroutinesWere(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	assert.Contains(t, stacksAtDeadline(ctx)(), "TestStacksAtDeadline_Reached")
}

func TestStacksAtDeadline_NotReached_SaysNothing(t *testing.T) {
	t.Parallel()
	assert.Empty(t, stacksAtDeadline(t.Context())())
}

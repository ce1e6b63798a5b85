package cockroachdb

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/digest"
)

// What was observed of rows is the same before and after no more rows are handed over.
func TestObservation_Settled_IsTheSame(t *testing.T) {
	for _, rows := range [][][][]byte{
		{}, {{[]byte("a")}}, {{nil}, {[]byte("b")}}, slices.Repeat([][][]byte{{[]byte("c")}}, 40),
	} {
		d := &digest.Rows{}
		d.Reset()
		o := observation{live: d}
		for _, row := range rows {
			d.Add(row, digest.Size(row))
			o.rows++
		}
		live, liveMarks := o.seen()
		liveMarks = slices.Clone(liveMarks)
		o.settle()
		d.Add([][]byte{[]byte("another statement's")}, 19) // the memory is used again
		settled, marks := o.seen()
		require.Equal(t, live, settled)
		if len(rows) > 1 {
			require.Equal(t, liveMarks, marks)
		}
	}
}

// NULL is not an empty value, also where there is no memory yet.
func TestArena_EmptyValue_IsNotNULL(t *testing.T) {
	t.Parallel()
	var a arena
	assert.Equal(t, [][]byte{{}, nil}, a.copyOf([][]byte{{}, nil}))
}

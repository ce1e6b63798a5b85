package wire_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/wire"
)

func keyOf(sql string) wire.DescriptionKey { return wire.DescriptionKey{SQL: sql} }

func TestDescriptions_OtherSession_IsAnotherText(t *testing.T) {
	t.Parallel()
	d := wire.NewDescriptions(1 << 20)
	here := wire.DescriptionKey{SQL: "SELECT 1", Session: "here"}
	d.Put(here, &pgconn.StatementDescription{ParamOIDs: []uint32{20}})
	assert.Nil(t, d.Get(wire.DescriptionKey{SQL: "SELECT 1", Session: "there"}))
	require.NotNil(t, d.Get(here))
	d.Put(here, &pgconn.StatementDescription{ParamOIDs: []uint32{25}})
	assert.Equal(t, []uint32{25}, d.Get(here).ParamOIDs, "the latest word counts")
}

// However many texts come, and however large they are, the bound holds; those that are in use stay.
func TestDescriptions_MoreThanThereIsRoomFor_TheOldestGo(t *testing.T) {
	t.Parallel()
	const most, text = 1 << 20, 10_000
	d := wire.NewDescriptions(most)
	numbered := func(i int) wire.DescriptionKey { return keyOf(fmt.Sprintf("%*d", text, i)) }
	inUse := keyOf("in use")
	d.Put(inUse, &pgconn.StatementDescription{})
	for i := range 10 * most / text {
		d.Put(numbered(i), &pgconn.StatementDescription{Fields: make([]pgconn.FieldDescription, 3)})
		require.NotNil(t, d.Get(inUse))
	}
	kept := 0
	for i := range 10 * most / text {
		if d.Get(numbered(i)) != nil {
			kept++
		}
	}
	assert.LessOrEqual(t, kept*text, most)
	assert.Greater(t, kept*text, most/2)
	d.Put(keyOf(strings.Repeat("x", most/2)), &pgconn.StatementDescription{})
	require.NotNil(t, d.Get(inUse), "one large text does not take the room of all others")
	assert.Nil(t, d.Get(keyOf(strings.Repeat("x", most/2))))
}

func TestDescriptions_ManyConnections_MayShareThem(t *testing.T) {
	t.Parallel()
	d := wire.NewDescriptions(10_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				key := keyOf(fmt.Sprint(i % 50))
				if desc := d.Get(key); desc != nil {
					assert.Len(t, desc.ParamOIDs, i%50)
				}
				d.Put(key, &pgconn.StatementDescription{ParamOIDs: make([]uint32, i%50)})
			}
		})
	}
	wg.Wait()
}

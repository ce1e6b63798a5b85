package sqltext

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	k := []Equality{{Column: "k", Parameter: 1, Value: "$1"}}
	for sql, want := range map[string]struct {
		table string
		where []Equality
	}{
		"SELECT v FROM kv WHERE k = $1":                      {`"kv"`, k},
		"SELECT v FROM kv WHERE k = $1 FOR UPDATE":           {`"kv"`, k},
		"SELECT max(v) + 1 FROM s.kv WHERE k = $1 AND v > 2": {`"s"."kv"`, k},
		"update kv set v = v + 1 where k = $1 returning v":   {`"kv"`, k},
		"DELETE FROM kv WHERE v < 0 AND k = $1":              {`"kv"`, k},
		"SELECT v FROM kv WHERE k = $1 OR v = 2":             {`"kv"`, nil},
		"SELECT v FROM kv":                                   {`"kv"`, nil},
		"UPDATE kv SET v = 0":                                {`"kv"`, nil},
		"INSERT INTO kv VALUES ($1, 2)":                      {`"kv"`, nil},
		"SELECT 1":                                           {"", nil},
		"TABLE kv":                                           {"", nil},
		"":                                                   {"", nil},
	} {
		table, where := Target(sql)
		assert.Equal(t, want.table, table, sql)
		assert.Equal(t, want.where, where, sql)
	}
}

func TestAwaitsRows(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"UPDATE kv SET v = 1":                                  true,
		"delete from kv":                                       true,
		"SELECT v FROM kv WHERE k = $1 FOR UPDATE":             true,
		"/* a */ select v from kv for no key update of kv":     true,
		"SELECT v FROM kv FOR UPDATE NOWAIT":                   false,
		"SELECT v FROM kv FOR NO KEY UPDATE OF kv SKIP LOCKED": false,
		"SELECT v FROM kv FOR SHARE":                           false,
		"SELECT v FROM kv FOR KEY SHARE":                       false,
		"SELECT v FROM kv":                                     false,
		"SELECT 'for update' FROM kv -- for update":            false,
		"INSERT INTO kv VALUES (1, 2)":                         false,
		"WITH a AS (UPDATE kv SET v = 1 RETURNING v) SELECT v": false,
		"": false,
	} {
		assert.Equal(t, want, AwaitsRows(sql), sql)
	}
}

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

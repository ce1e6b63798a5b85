package program

import "fmt"

// A table that programs make and drop, so that what others have prepared or read may be gone in the next attempt.

const (
	codeNoTable = "42P01"
	createExtra = "CREATE TABLE IF NOT EXISTS public.extra (k INT8 PRIMARY KEY, v INT8)"
	extraThere  = "extra" // in the place of a row, so that the table itself is compared
)

var extraSpecs = map[Kind]spec{
	Create: {name: "create extra", sql: plain(createExtra), exec: (*model).createExtra},
	Drop:   {name: "drop extra", sql: plain("DROP TABLE IF EXISTS public.extra"), exec: (*model).dropExtra},
	GetExtra: {
		name: "get extra", about: aboutKey, reads: true, sql: keyed("SELECT k, v FROM public.extra WHERE k = $1"),
		columns: names("k", "v"), query: (*model).getExtra,
	},
	PutExtra: {
		name: "put extra", about: aboutDelta, exec: (*model).putExtra,
		sql: func(s *Statement, _ value) (string, []any) {
			const text = "INSERT INTO public.extra VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
			return text, []any{s.Lo, s.Delta}
		},
	},
}

func aboutDelta(s *Statement) string { return fmt.Sprintf("%d = %d", s.Lo, s.Delta) }

// missing is the error of a statement whose table is not there.
func (m *model) missing(k Kind) error {
	if (k == GetExtra || k == PutExtra) && m.extra == nil {
		return code(codeNoTable)
	}
	return nil
}

func (m *model) createExtra(*Statement, any) (int64, error) {
	if m.extra == nil {
		m.extra = make(map[int]int64)
	}
	return 0, nil
}

func (m *model) dropExtra(*Statement, any) (int64, error) {
	m.extra = nil
	return 0, nil
}

func (m *model) getExtra(s *Statement, _ any) (rows [][]any, err error) {
	if v, found := m.extra[s.Lo]; found {
		rows = append(rows, []any{int64(s.Lo), v})
	}
	return rows, m.missing(GetExtra)
}

func (m *model) putExtra(s *Statement, _ any) (int64, error) {
	if err := m.missing(PutExtra); err != nil {
		return 0, err
	}
	m.extra[s.Lo] = s.Delta
	return 1, nil
}

package mutants

import (
	"github.com/reprise-go/cockroachdb/reliability/history"
	"github.com/reprise-go/cockroachdb/reliability/program"
)

// All are the bugs that are planted. What they have in common: the driver goes on as if nothing were wrong.
var All = []Mutant{
	// Verification.
	{
		Name: "a changed row is not noticed", File: "replay.go",
		Old:   "	if is == was {\n",
		New:   "	if is == was || d.rows > 0 {\n",
		Found: []Instrument{Scenarios(history.LostUpdate, history.WriteSkew, history.NotLinearizable, history.LostWrite)},
	},
	{
		Name: "only the first replay is verified", File: "replay.go",
		Old:   "	if r == live {\n		return t.compareLive(n, r, a, err)\n	}\n",
		New:   "	if r == live {\n		return t.compareLive(n, r, a, err)\n	}\n	if t.attempts > 2 && err == nil {\n		_, err := a.close()\n		return answer{}, err\n	}\n",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},
	{
		Name: "the rows read before the one that lost are only skipped", File: "replay.go",
		Old:   "		differs, err = r.compareRows(&a)\n	}\n	switch {\n	case err != nil && !t.isStatementError(err):\n		return a, err\n",
		New:   "		for i := int64(0); i < r.rows && a.next(); i++ {\n		}\n	}\n	switch {\n	case err != nil && !t.isStatementError(err):\n		return a, err\n",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},
	{
		Name: "too few rows are not noticed", File: "replay.go",
		Old:   "			return &DivergenceError{Kind: DivergedEndOfRows, Row: d.rows + 1}, err\n",
		New:   "			return nil, err\n",
		Found: []Instrument{Scenarios(history.NobodyOnCall)},
	},
	{
		Name: "that the end of the rows was seen is not noted", File: "rows.go",
		Old:   "		r.rec.end = true // in front of an error, too\n",
		New:   "",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},
	{
		Name: "the number of affected rows is not compared", File: "replay.go",
		Old:   "	if err == nil && r.asked && tag.RowsAffected() != r.affected {\n",
		New:   "	if err == nil && r.asked && tag.RowsAffected() < 0 {\n",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},
	{
		Name: "that an error has become a success is not noticed", File: "replay.go",
		Old:   "	case codeOf(err) != r.code && (err != nil || differs == nil || !r.shown):\n",
		New:   "	case codeOf(err) != r.code && err != nil:\n",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},

	// The digest. Without its boundary for each row alone nothing goes unseen, since all rows of an answer have as many values.
	{
		Name: "NULL is hashed like false", File: "digest.go",
		Old:   "			d.length(isNull)\n			continue\n",
		New:   "			value = []byte{0}\n",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},
	{
		Name: "NULL is hashed like an empty value", File: "digest.go",
		Old:   "			d.length(isNull)\n",
		New:   "			d.length(0)\n",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},
	{
		Name: "the lengths of values are not hashed", File: "digest.go",
		Old:   "		d.length(uint32(len(value)))\n",
		New:   "",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},

	// The record.
	{
		Name: "a statement is forgotten in the replay", File: "replay.go",
		Old:   "	records := t.history.records\n	if len(records) == 0 {\n",
		New:   "	records := t.history.records\n	if len(records) > 2 {\n		records = append(records[:1:1], records[2:]...)\n	}\n	if len(records) == 0 {\n",
		Found: []Instrument{Scenarios(history.LostWrite), Programs(program.CockroachDB, 14, 20, program.Shown)},
	},
	{
		Name: "arguments are kept by reference", File: "statement.go",
		Old:   "		if t.explicit {\n			s.values,",
		New:   "		if false {\n			s.values,",
		Found: []Instrument{Scenarios(history.Duplicate, history.LostWrite)},
	},
	{
		Name: "what ran inside a savepoint that was rolled back is not replayed", File: "history.go",
		Old:   "	r := t.history.room.record()\n	r.statement, r.is = *s, is\n",
		New:   "	for n := len(t.history.records) - 1; s.sql == \"ROLLBACK TO SAVEPOINT s\" && n >= 0 && t.history.records[n].sql != \"SAVEPOINT s\"; n-- {\n		t.unrecord(t.history.records[n])\n	}\n	r := t.history.room.record()\n	r.statement, r.is = *s, is\n",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},
	{
		Name: "what ran before a savepoint that was rolled back is not replayed", File: "history.go",
		Old:   "	r := t.history.room.record()\n	r.statement, r.is = *s, is\n",
		New:   "	for n := 1; s.sql == \"ROLLBACK TO SAVEPOINT s\" && n < len(t.history.records); n++ {\n		if t.history.records[n].sql == \"SAVEPOINT s\" {\n			t.history.records = append(t.history.records[:n-1:n-1], t.history.records[n:]...)\n		}\n	}\n	r := t.history.room.record()\n	r.statement, r.is = *s, is\n",
		Found: []Instrument{Scenarios(history.LostWrite)},
	},
	{
		Name: "a rollback to a savepoint is not replayed", File: "history.go",
		Old:   "	r := t.history.room.record()\n	r.statement, r.is = *s, is\n",
		New:   "	r := t.history.room.record()\n	r.statement, r.is = *s, is\n	if s.sql == \"ROLLBACK TO SAVEPOINT s\" {\n		return r\n	}\n",
		Found: []Instrument{Scenarios(history.DirtyRead)},
	},
	{
		Name: "RunTx keeps on record what fn did when it was called before", File: "runtx.go",
		Old:   "	t.forget()\n	t.ran = 0\n",
		New:   "	t.ran = 0\n",
		Found: []Instrument{Scenarios(history.DirtyRead)},
	},

	// The commit.
	{
		Name: "an ambiguous commit is replayed", File: "commit.go",
		Old:   "	default:\n		return t.ambiguous(err)\n",
		New:   "	default:\n		return &pgconn.PgError{Code: codeSerializationFailure}\n",
		Found: []Instrument{Scenarios(history.Duplicate)},
	},
	{
		Name: "a commit without an answer is called not committed", File: "commit.go",
		Old:   "	if !errors.As(err, &pgErr) {\n		return t.ambiguous(err)\n",
		New:   "	if !errors.As(err, &pgErr) {\n		return t.lose(err, \"\")\n",
		Found: []Instrument{Scenarios(history.DirtyRead), Matrix("single write", "told of an error, yet there is an effect")},
	},
	{
		Name: "a commit that lost is replayed without what ran before it", File: "commit.go",
		Old:   "		if _, err := t.restart(ctx, err, strike{at: placeCommit}, nil); err != nil {\n",
		New:   "		t.history.clear()\n		if _, err := t.restart(ctx, err, strike{at: placeCommit}, nil); err != nil {\n",
		Found: []Instrument{Scenarios(history.PhantomCommit)},
	},
	{
		Name: "a RELEASE that failed is called committed", File: "commit.go",
		Old:   "	case commitConflict:\n",
		New:   "	case commitConflict:\n		if t.state == txLive {\n			_ = t.rollback()\n			t.state, t.outcome = txCommitted, outcomeCommitted\n			return nil\n		}\n",
		Found: []Instrument{Scenarios(history.PhantomCommit)},
	},
	{
		Name: "the commit of a failed transaction is called committed", File: "commit.go",
		Old:   "	t.outcome = outcomeFailed\n	return pgx.ErrTxCommitRollback\n",
		New:   "	t.outcome = outcomeCommitted\n	return nil\n",
		Found: []Instrument{Scenarios(history.PhantomCommit)},
	},

	// The transaction as such.
	{
		Name: "BEGIN is not sent", File: "wire.go",
		Old: "	t.begin(opening)\n",
		New: "	opening = append([]string(nil), opening...)\n	for i, sql := range opening {\n		if sql == \"BEGIN\" || sql == sqlSavepoint {\n			opening[i] = \"SELECT 1\"\n		}\n	}\n	t.begin(opening)\n",
		Found: []Instrument{
			ScenariosOn("PostgreSQL", history.IntermediateRead, history.DirtyRead), // on CockroachDB the RELEASE fails
		},
	},
	{
		Name: "a rollback commits", File: "commit.go",
		Old:   "	_, err := t.c.control(ctx, sqlRollback)\n",
		New:   "	_, err := t.c.control(ctx, sqlCommit)\n",
		Found: []Instrument{Scenarios(history.DirtyRead)},
	},
}

package history_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// appends and reads are operations on list key.
func appends(key, value int) history.Op       { return history.Op{Key: key, Append: value} }
func reads(key int, values ...int) history.Op { return history.Op{Key: key, Read: values} }

func txn(outcome history.Outcome, ops ...history.Op) *history.Txn {
	return &history.Txn{Ops: ops, Outcome: outcome}
}

func committed(ops ...history.Op) *history.Txn { return txn(history.Committed, ops...) }

type lists = map[int][]int

// classes are those of what was found, in order.
func classes(found []history.Anomaly) (all []history.Class) {
	for _, a := range found {
		all = append(all, a.Class)
	}
	return all
}

func TestListsThatAreSerializable(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]struct {
		txns  []*history.Txn
		final lists
	}{
		"empty": {},
		"one after the other": {
			[]*history.Txn{committed(appends(0, 1)), committed(reads(0, 1), appends(0, 2)), committed(reads(0, 1, 2))},
			lists{0: {1, 2}},
		},
		"in another order than written down": {
			[]*history.Txn{
				committed(reads(0, 1, 2)), committed(reads(0), appends(1, 1)),
				committed(appends(0, 1)), committed(reads(1, 1), appends(0, 2)),
			},
			lists{0: {1, 2}, 1: {1}},
		},
		"its own appends are seen": {
			[]*history.Txn{committed(appends(0, 1)), committed(appends(0, 2), reads(0, 1, 2), appends(0, 3), reads(0, 1, 2, 3))},
			lists{0: {1, 2, 3}},
		},
		"a failed one is not seen": {
			[]*history.Txn{committed(appends(0, 1)), txn(history.Failed, reads(0, 7), appends(0, 2))},
			lists{0: {1}},
		},
		"an unknown one has not happened": {
			[]*history.Txn{txn(history.Unknown, appends(0, 1), appends(1, 2)), committed(reads(0))},
			lists{0: nil, 1: nil},
		},
		"an unknown one has happened": {
			[]*history.Txn{txn(history.Unknown, appends(0, 1), appends(1, 2)), committed(reads(0, 1))},
			lists{0: {1}, 1: {2}},
		},
		"read skew, of one that failed": {
			[]*history.Txn{committed(appends(0, 1), appends(1, 2)), txn(history.Failed, reads(0, 1), reads(1))},
			lists{0: {1}, 1: {2}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Empty(t, history.CheckLists(h.txns, h.final))
		})
	}
}

func TestListsThatAreNot(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]struct {
		txns  []*history.Txn
		final lists
		want  []history.Class
	}{
		"appended twice": {
			[]*history.Txn{committed(appends(0, 1))},
			lists{0: {1, 1}},
			[]history.Class{history.Duplicate},
		},
		"not there": {
			[]*history.Txn{committed(appends(0, 1), appends(1, 2))},
			lists{0: {}, 1: {}},
			[]history.Class{history.PhantomCommit},
		},
		"there in part": {
			[]*history.Txn{committed(appends(0, 1), appends(1, 2))},
			lists{0: {1}, 1: {}},
			[]history.Class{history.LostWrite},
		},
		"an unknown one has happened in part": {
			[]*history.Txn{txn(history.Unknown, appends(0, 1), appends(1, 2))},
			lists{0: {1}, 1: {}},
			[]history.Class{history.LostWrite},
		},
		"a failed one is there": {
			[]*history.Txn{txn(history.Failed, appends(0, 1))},
			lists{0: {1}},
			[]history.Class{history.DirtyRead},
		},
		"a failed one was seen": {
			[]*history.Txn{txn(history.Failed, appends(0, 1)), committed(reads(0, 1))},
			lists{0: {}},
			[]history.Class{history.DirtyRead, history.IncompatibleOrder},
		},
		"seen between two appends": {
			[]*history.Txn{committed(appends(0, 1), appends(0, 2)), committed(reads(0, 1))},
			lists{0: {1, 2}},
			[]history.Class{history.IntermediateRead, history.ReadSkew},
		},
		"nobody wrote it": {
			nil,
			lists{0: {9}},
			[]history.Class{history.GarbageRead},
		},
		"two orders": {
			[]*history.Txn{committed(appends(0, 1)), committed(appends(0, 2)), committed(reads(0, 2, 1))},
			lists{0: {1, 2}},
			[]history.Class{history.IncompatibleOrder},
		},
		"changes while it looks": {
			[]*history.Txn{committed(appends(0, 1)), committed(reads(0), reads(0, 1))},
			lists{0: {1}},
			[]history.Class{history.Internal, history.ReadSkew},
		},
		"does not see its own": {
			[]*history.Txn{committed(appends(0, 1), reads(0))},
			lists{0: {1}},
			[]history.Class{history.Internal},
		},
		"overwrite each other": {
			[]*history.Txn{committed(appends(0, 1), appends(1, 2)), committed(appends(0, 3), appends(1, 4))},
			lists{0: {1, 3}, 1: {4, 2}},
			[]history.Class{history.WriteCycle},
		},
		"each has seen the other": {
			[]*history.Txn{committed(appends(0, 1), reads(1, 2)), committed(appends(1, 2), reads(0, 1))},
			lists{0: {1}, 1: {2}},
			[]history.Class{history.CircularFlow},
		},
		"lost update": {
			[]*history.Txn{
				committed(appends(0, 1)), committed(reads(0, 1), appends(0, 2)), committed(reads(0, 1), appends(0, 3)),
			},
			lists{0: {1, 2, 3}},
			[]history.Class{history.LostUpdate},
		},
		"lost update, of an unknown one that has happened": {
			[]*history.Txn{txn(history.Unknown, reads(0), appends(0, 2)), committed(reads(0), appends(0, 3))},
			lists{0: {2, 3}},
			[]history.Class{history.LostUpdate},
		},
		"read skew": {
			[]*history.Txn{committed(appends(0, 1), appends(1, 2)), committed(reads(0, 1), reads(1))},
			lists{0: {1}, 1: {2}},
			[]history.Class{history.ReadSkew},
		},
		"write skew": {
			[]*history.Txn{committed(reads(0), appends(1, 1)), committed(reads(1), appends(0, 2))},
			lists{0: {2}, 1: {1}},
			[]history.Class{history.WriteSkew},
		},
		"three in a ring": {
			[]*history.Txn{
				committed(reads(0), appends(1, 1)), committed(reads(1), appends(2, 2)), committed(reads(2), appends(0, 3)),
			},
			lists{0: {3}, 1: {1}, 2: {2}},
			[]history.Class{history.AntiDependency},
		},
		"the shortest cycle is the one that is told": {
			[]*history.Txn{
				committed(reads(0), appends(1, 1)), committed(reads(1), appends(2, 2)), committed(reads(2), appends(0, 3)),
				committed(reads(5), appends(6, 1)), committed(reads(6), appends(5, 2)),
			},
			lists{0: {3}, 1: {1}, 2: {2}, 5: {2}, 6: {1}},
			[]history.Class{history.WriteSkew},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i, txn := range h.txns {
				txn.ID = i + 1
			}
			assert.Equal(t, h.want, classes(history.CheckLists(h.txns, h.final)))
		})
	}
}

func TestACycleIsToldWithItsOperations(t *testing.T) {
	t.Parallel()
	found := history.CheckLists([]*history.Txn{
		{ID: 1, Outcome: history.Committed, Ops: []history.Op{reads(0), appends(0, 1)}},
		{ID: 2, Outcome: history.Unknown, Ops: []history.Op{reads(0), appends(0, 2)}},
	}, lists{0: {1, 2}})
	assert.Equal(t, []history.Anomaly{{
		Class: history.LostUpdate,
		Detail: "T2 -rw k0-> T1 -ww k0-> T2\n" +
			"  T2 unknown {read k0 [], append k0 2}\n" +
			"  T1 committed {read k0 [], append k0 1}",
	}}, found)
	assert.Contains(t, found[0].String(), "anomaly: G-single lost update: T2")
}

func TestManyAnomaliesOfAKindAreToldByAFew(t *testing.T) {
	t.Parallel()
	assert.Len(t, history.CheckLists(nil, lists{0: {1, 2, 3, 4, 5, 6, 7}}), 3)
}

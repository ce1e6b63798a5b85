package main

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/reprise-go/cockroachdb/reliability/history"
)

// Lists are many, so that they stay short. Clients use a few at a time, and move on together.
const (
	listsAtATime = 64
	listsMove    = 8 // after so many steps of all clients the first list is left alone, and a new one is in use
	listsInARead = 6
	listsASecond = 400 // of a run: that is enough for some 3000 steps
)

// lists returns how many lists a run is given.
func (o options) lists() int { return listsAtATime + 1 + int(o.duration.Seconds()*listsASecond) }

func createLists(ctx context.Context, db *sql.DB, lists int) error {
	return execAll(ctx, db,
		"CREATE TABLE lists (k BIGINT PRIMARY KEY, v TEXT NOT NULL)",
		fmt.Sprintf("INSERT INTO lists SELECT k, '' FROM generate_series(0, %d) AS k", lists-1),
		"ANALYZE lists")
}

// A desk is what all clients of the lists share.
type desk struct {
	db       *sql.DB
	transact transactor
	lists    int
	steps    atomic.Int64
	values   atomic.Int64 // the last one appended
}

// A clerk appends to lists and reads them, and writes down what it did and saw.
type clerk struct {
	*desk
	txns []*history.Txn
}

// window returns the first of the lists in use. After the last one it begins again.
func (d *desk) window() int { return int(d.steps.Add(1)/listsMove) % (d.lists - listsAtATime) }

func (c *clerk) step(ctx context.Context, rnd *rand.Rand) (history.Outcome, error) {
	first := c.window()
	if rnd.IntN(2) == 0 {
		return c.read(ctx, first+rnd.IntN(listsAtATime-listsInARead))
	}
	return c.append(ctx, first+rnd.IntN(listsAtATime), first+rnd.IntN(listsAtATime))
}

// append appends a value to each of two lists, in one transaction, without having read them.
func (c *clerk) append(ctx context.Context, keys ...int) (history.Outcome, error) {
	txn := &history.Txn{}
	for _, k := range keys {
		txn.Ops = append(txn.Ops, history.Op{Key: k, Append: int(c.values.Add(1))})
	}
	var err error
	txn.Outcome, err = c.transact(ctx, c.db, func(tx *sql.Tx) error {
		for _, o := range txn.Ops {
			_, err := tx.ExecContext(ctx, "UPDATE lists SET v = v || $2 WHERE k = $1", o.Key, strconv.Itoa(o.Append)+",")
			if err != nil {
				return err
			}
		}
		return nil
	})
	c.txns = append(c.txns, txn)
	return txn.Outcome, err
}

// read reads several lists at once, in a statement outside a transaction.
func (c *clerk) read(ctx context.Context, from int) (history.Outcome, error) {
	lists, err := listsBetween(ctx, c.db, from, from+listsInARead-1)
	if err != nil {
		return history.Failed, err
	}
	txn := &history.Txn{Outcome: history.Committed}
	for k := range listsInARead {
		txn.Ops = append(txn.Ops, history.Op{Key: from + k, Read: lists[from+k]})
	}
	c.txns = append(c.txns, txn)
	return history.Committed, nil
}

func listsBetween(ctx context.Context, db *sql.DB, from, to int) (map[int][]int, error) {
	rows, err := db.QueryContext(ctx, "SELECT k, v FROM lists WHERE k BETWEEN $1 AND $2 AND v <> ''", from, to)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lists := make(map[int][]int)
	for rows.Next() {
		var k int
		var v string
		if err := rows.Scan(&k, &v); err != nil {
			return nil, err
		}
		if lists[k], err = values(v); err != nil {
			return nil, err
		}
	}
	return lists, rows.Err()
}

func values(v string) (list []int, err error) {
	for word := range strings.SplitSeq(strings.TrimSuffix(v, ","), ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// checkLists returns what no serial order of the clerks' transactions explains.
func checkLists(ctx context.Context, db *sql.DB, clerks []*clerk) ([]history.Anomaly, error) {
	final, err := listsBetween(ctx, db, 0, math.MaxInt32)
	if err != nil {
		return nil, fmt.Errorf("read the lists: %w", err)
	}
	var all []*history.Txn
	for _, c := range clerks {
		all = append(all, c.txns...)
	}
	for i, t := range all {
		t.ID = i + 1
	}
	return history.CheckLists(all, final), nil
}

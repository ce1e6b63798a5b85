package bench

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A workload is a kind of transaction that conflicts with others of its kind, and what must hold when all have
// committed.
type workload struct {
	name   string
	schema []string
	// draw makes a transaction of which all that is left to chance has been decided, so that each attempt does the same.
	draw func(*rand.Rand) body
	// check is told how many transactions have committed, and the sum of what their bodies returned.
	check func(tb testing.TB, db *sql.DB, commits, sum int64)
}

// A body runs a transaction's statements. What the call whose transaction commits returns goes into check's sum.
type body func(context.Context, *sql.Tx) (int64, error)

const (
	hotRows  = 10
	wideRows = 500
	ycsbRows = 1000
	ycsbOps  = 4
)

var workloads = []workload{
	{"counter", keyValue(hotRows), counter(hotRows), sumIsKept},
	{"transfer", keyValue(hotRows), transfer(asDrawn), sumIsKept},
	{"rmw", keyValue(hotRows), readModifyWrite(hotRows, "SELECT v FROM kv WHERE k = $1"), sumIsKept},
	{"rmw-for-update", keyValue(hotRows), readModifyWrite(hotRows, "SELECT v FROM kv WHERE k = $1 FOR UPDATE"), sumIsKept},
	{"wide-read", keyValue(wideRows), wideRead, sumIsKept},
	{"write-skew", shifts(), changeShift, someoneIsOnCall},
	{"ycsb-a", keyValue(ycsbRows), ycsb(increment), sumIsKept},
	{"ycsb-f", keyValue(ycsbRows), ycsb(readAndIncrement), sumIsKept},
	{"new-order", orderEntry(), newOrder, everyOrderIsThere},
}

// dropTables drops the tables of all workloads.
const dropTables = "DROP TABLE IF EXISTS kv, doctors, warehouse, customer, district, item, stock, orders, new_order, order_line"

func keyValue(rows int) []string {
	return []string{
		"CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL)",
		fmt.Sprintf("INSERT INTO kv SELECT k, 0 FROM generate_series(0, %d) AS g(k)", rows-1),
	}
}

func sumIsKept(tb testing.TB, db *sql.DB, _, sum int64) {
	require.Equal(tb, sum, number(tb, db, "SELECT sum(v) FROM kv"),
		"the sum over all rows, and of what was added by transactions that committed")
}

func number(tb testing.TB, db *sql.DB, query string) int64 {
	tb.Helper()
	var n int64
	require.NoError(tb, db.QueryRowContext(tb.Context(), query).Scan(&n), query)
	return n
}

// counter adds one to one of a few rows.
func counter(rows int) func(*rand.Rand) body {
	return func(r *rand.Rand) body {
		k := r.IntN(rows)
		return func(ctx context.Context, tx *sql.Tx) (int64, error) { return 1, increment(ctx, tx, k) }
	}
}

func increment(ctx context.Context, tx *sql.Tx, k int) error {
	_, err := tx.ExecContext(ctx, "UPDATE kv SET v = v + 1 WHERE k = $1", k)
	return err
}

// An order is that in which a transaction takes its rows. As they are drawn, two may deadlock.
type order func(rows []int)

func asDrawn([]int) {}

// transfer writes two rows without reading them first. It takes one and gives two, so that the sum says how many have
// committed.
func transfer(in order) func(*rand.Rand) body {
	return func(r *rand.Rand) body {
		rows := r.Perm(hotRows)[:2]
		in(rows)
		return func(ctx context.Context, tx *sql.Tx) (int64, error) {
			if _, err := tx.ExecContext(ctx, "UPDATE kv SET v = v - 1 WHERE k = $1", rows[0]); err != nil {
				return 0, err
			}
			_, err := tx.ExecContext(ctx, "UPDATE kv SET v = v + 2 WHERE k = $1", rows[1])
			return 1, err
		}
	}
}

// readModifyWrite reads a row and writes what it makes of it.
func readModifyWrite(rows int, read string) func(*rand.Rand) body {
	return func(r *rand.Rand) body {
		k := r.IntN(rows)
		return func(ctx context.Context, tx *sql.Tx) (int64, error) { return 1, addOne(ctx, tx, read, k) }
	}
}

func addOne(ctx context.Context, tx *sql.Tx, read string, k int) error {
	var v int64
	if err := tx.QueryRowContext(ctx, read, k).Scan(&v); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE kv SET v = $1 WHERE k = $2", v+1, k)
	return err
}

func readAndIncrement(ctx context.Context, tx *sql.Tx, k int) error {
	return addOne(ctx, tx, "SELECT v FROM kv WHERE k = $1", k)
}

// wideRead reads all of a table and writes one of its few hot rows.
func wideRead(r *rand.Rand) body {
	k := r.IntN(hotRows)
	return func(ctx context.Context, tx *sql.Tx) (int64, error) {
		rows, err := tx.QueryContext(ctx, "SELECT v FROM kv")
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		var v int64
		for rows.Next() {
			if err := rows.Scan(&v); err != nil {
				return 0, err
			}
		}
		if err := rows.Err(); err != nil {
			return 0, err
		}
		return 1, increment(ctx, tx, k)
	}
}

const (
	shiftCount     = 8
	doctorsOfShift = 4
)

func shifts() []string {
	return []string{
		"CREATE TABLE doctors (shift INT, id INT, on_call BOOL NOT NULL, changes INT NOT NULL, PRIMARY KEY (shift, id))",
		fmt.Sprintf("INSERT INTO doctors SELECT s, d, true, 0 FROM generate_series(0, %d) AS a(s), generate_series(0, %d) AS b(d)",
			shiftCount-1, doctorsOfShift-1),
	}
}

// changeShift lets a doctor go off call if another one stays, and come back on call. Two who go at once, neither of
// whom sees the other, are write skew. A shift that nobody is left in stays so, that it may be found.
func changeShift(r *rand.Rand) body {
	shift, doctor := r.IntN(shiftCount), r.IntN(doctorsOfShift)
	return func(ctx context.Context, tx *sql.Tx) (int64, error) {
		var others int64
		var onCall bool
		row := tx.QueryRowContext(ctx,
			"SELECT count(*) FROM doctors WHERE shift = $1 AND id <> $2 AND on_call", shift, doctor)
		if err := row.Scan(&others); err != nil {
			return 0, err
		}
		row = tx.QueryRowContext(ctx, "SELECT on_call FROM doctors WHERE shift = $1 AND id = $2", shift, doctor)
		if err := row.Scan(&onCall); err != nil {
			return 0, err
		}
		if others == 0 {
			return 0, nil
		}
		_, err := tx.ExecContext(ctx, "UPDATE doctors SET on_call = $1, changes = changes + 1 WHERE shift = $2 AND id = $3", !onCall, shift, doctor)
		return 1, err
	}
}

func someoneIsOnCall(tb testing.TB, db *sql.DB, _, sum int64) {
	require.EqualValues(tb, shiftCount, number(tb, db, "SELECT count(DISTINCT shift) FROM doctors WHERE on_call"),
		"shifts with someone on call")
	require.Equal(tb, sum, number(tb, db, "SELECT sum(changes) FROM doctors"), "changes")
}

// ycsb is YCSB's, of a few operations in a transaction: half of them read a row, half write one, as write says.
func ycsb(write func(context.Context, *sql.Tx, int) error) func(*rand.Rand) body {
	keys := newZipf(ycsbRows, 0.99)
	return func(r *rand.Rand) body {
		type op struct {
			k     int
			write bool
		}
		ops := make([]op, ycsbOps)
		for i := range ops {
			ops[i] = op{keys.draw(r), r.IntN(2) == 0}
		}
		return func(ctx context.Context, tx *sql.Tx) (writes int64, err error) {
			for _, op := range ops {
				var v int64
				if op.write {
					writes++
					err = write(ctx, tx, op.k)
				} else {
					err = tx.QueryRowContext(ctx, "SELECT v FROM kv WHERE k = $1", op.k).Scan(&v)
				}
				if err != nil {
					return 0, err
				}
			}
			return writes, nil
		}
	}
}

const (
	districts     = 10
	customers     = 100
	stockItems    = 100
	itemsOfOrder  = 2
	openingStock  = 1000
	restockBelow  = 10
	restockAmount = 91
)

// orderEntry has the tables of TPC-C that New-Order touches, for one warehouse, with the columns that it reads and
// writes.
func orderEntry() []string {
	return []string{
		"CREATE TABLE warehouse (w_id INT PRIMARY KEY, w_tax INT NOT NULL)",
		"INSERT INTO warehouse VALUES (1, 7)",
		"CREATE TABLE customer (c_id INT PRIMARY KEY, c_discount INT NOT NULL)",
		fmt.Sprintf("INSERT INTO customer SELECT c, c %% 50 FROM generate_series(1, %d) AS g(c)", customers),
		"CREATE TABLE district (d_id INT PRIMARY KEY, d_tax INT NOT NULL, d_next_o_id INT NOT NULL)",
		fmt.Sprintf("INSERT INTO district SELECT d, 5, 1 FROM generate_series(1, %d) AS g(d)", districts),
		"CREATE TABLE item (i_id INT PRIMARY KEY, i_price INT NOT NULL)",
		fmt.Sprintf("INSERT INTO item SELECT i, 100 + i FROM generate_series(1, %d) AS g(i)", stockItems),
		"CREATE TABLE stock (s_i_id INT PRIMARY KEY, s_quantity INT NOT NULL, s_ytd INT NOT NULL, s_order_cnt INT NOT NULL)",
		fmt.Sprintf("INSERT INTO stock SELECT i, %d, 0, 0 FROM generate_series(1, %d) AS g(i)", openingStock, stockItems),
		"CREATE TABLE orders (o_d_id INT, o_id INT, o_c_id INT NOT NULL, o_ol_cnt INT NOT NULL, PRIMARY KEY (o_d_id, o_id))",
		"CREATE TABLE new_order (no_d_id INT, no_o_id INT, PRIMARY KEY (no_d_id, no_o_id))",
		`CREATE TABLE order_line (ol_d_id INT, ol_o_id INT, ol_number INT, ol_i_id INT NOT NULL, ol_quantity INT NOT NULL,
			ol_amount INT NOT NULL, PRIMARY KEY (ol_d_id, ol_o_id, ol_number))`,
	}
}

// newOrder is ten statements in the manner of TPC-C's New-Order. It returns how many pieces were ordered.
func newOrder(r *rand.Rand) body {
	district, customer := 1+r.IntN(districts), 1+r.IntN(customers)
	items := r.Perm(stockItems)[:itemsOfOrder]
	slices.Sort(items) // as TPC-C's own programs do, against deadlocks
	quantity := 1 + r.Int64N(10)
	return func(ctx context.Context, tx *sql.Tx) (int64, error) {
		var warehouseTax, discount, districtTax, order int64
		row := tx.QueryRowContext(ctx,
			"SELECT w_tax, c_discount FROM warehouse, customer WHERE w_id = 1 AND c_id = $1", customer)
		if err := row.Scan(&warehouseTax, &discount); err != nil {
			return 0, err
		}
		row = tx.QueryRowContext(ctx,
			"UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_id = $1 RETURNING d_tax, d_next_o_id - 1", district)
		if err := row.Scan(&districtTax, &order); err != nil {
			return 0, err
		}
		_, err := tx.ExecContext(ctx,
			"INSERT INTO orders VALUES ($1, $2, $3, $4)", district, order, customer, len(items))
		if err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO new_order VALUES ($1, $2)", district, order); err != nil {
			return 0, err
		}
		for i, item := range items {
			amount := func(price int64) int64 {
				return quantity * price * (100 + warehouseTax + districtTax) * (100 - discount) / 10000
			}
			if err := orderLine(ctx, tx, []any{district, order, i + 1, item + 1, quantity}, amount); err != nil {
				return 0, err
			}
		}
		return quantity * int64(len(items)), nil
	}
}

// orderLine takes one item from stock and writes its line, whose values but for the amount are given.
func orderLine(ctx context.Context, tx *sql.Tx, line []any, amount func(price int64) int64) error {
	item, quantity := line[3], line[4]
	var price int64
	if err := tx.QueryRowContext(ctx, "SELECT i_price FROM item WHERE i_id = $1", item).Scan(&price); err != nil {
		return err
	}
	update := fmt.Sprintf(`UPDATE stock SET s_ytd = s_ytd + $2, s_order_cnt = s_order_cnt + 1,
		s_quantity = s_quantity - $2 + CASE WHEN s_quantity - $2 < %d THEN %d ELSE 0 END WHERE s_i_id = $1`,
		restockBelow, restockAmount)
	if _, err := tx.ExecContext(ctx, update, item, quantity); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO order_line VALUES ($1, $2, $3, $4, $5, $6)", append(line, amount(price))...)
	return err
}

// everyOrderIsThere is TPC-C's conditions of consistency, and that no order was lost.
func everyOrderIsThere(tb testing.TB, db *sql.DB, commits, sum int64) {
	for query, want := range map[string]int64{
		"SELECT count(*) FROM orders":               commits,
		"SELECT count(*) FROM new_order":            commits,
		"SELECT sum(d_next_o_id - 1) FROM district": commits,
		"SELECT sum(o_ol_cnt) FROM orders":          commits * itemsOfOrder,
		"SELECT count(*) FROM order_line":           commits * itemsOfOrder,
		"SELECT sum(s_order_cnt) FROM stock":        commits * itemsOfOrder,
		"SELECT sum(ol_quantity) FROM order_line":   sum,
		"SELECT sum(s_ytd) FROM stock":              sum,
	} {
		require.Equal(tb, want, number(tb, db, query), query)
	}
	for d := range districts {
		latest := number(tb, db, fmt.Sprintf("SELECT coalesce(max(o_id), 0) FROM orders WHERE o_d_id = %d", d+1))
		next := number(tb, db, fmt.Sprintf("SELECT d_next_o_id FROM district WHERE d_id = %d", d+1))
		require.Equal(tb, latest, next-1, "the latest order of district %d", d+1)
	}
}

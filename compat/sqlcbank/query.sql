-- name: OpenAccount :exec
INSERT INTO accounts (id, owner, balance) VALUES ($1, $2, $3);

-- name: NewAccount :one
INSERT INTO accounts (owner, balance) VALUES ($1, $2) RETURNING id;

-- name: OwnersWithMoney :many
SELECT owner FROM accounts WHERE balance > 0 ORDER BY id;

-- name: AccountsOf :many
SELECT * FROM accounts WHERE owner = ANY(sqlc.arg(owners)::text[]) ORDER BY id;

-- name: AllOwners :one
SELECT array_agg(owner ORDER BY owner)::text[] AS owners FROM accounts;

-- name: Withdraw :execrows
UPDATE accounts SET balance = balance - sqlc.arg(amount) WHERE owner = sqlc.arg(owner);

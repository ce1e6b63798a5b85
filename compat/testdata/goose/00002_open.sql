-- +goose Up
INSERT INTO accounts (id, owner, balance) VALUES (101, 'ann', 100);
INSERT INTO accounts (id, owner, balance) VALUES (102, 'bob', 100);

-- +goose Down
DELETE FROM accounts;

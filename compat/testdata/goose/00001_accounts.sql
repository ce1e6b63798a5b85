-- +goose Up
CREATE TABLE accounts (
	id BIGINT PRIMARY KEY,
	owner TEXT NOT NULL UNIQUE,
	balance BIGINT NOT NULL CHECK (balance >= 0)
);

-- +goose Down
DROP TABLE accounts;

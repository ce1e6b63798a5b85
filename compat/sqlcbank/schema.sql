CREATE TABLE accounts (
	id BIGINT PRIMARY KEY,
	owner TEXT NOT NULL UNIQUE,
	balance BIGINT NOT NULL CHECK (balance >= 0)
);

CREATE TABLE accounts (
	id BIGINT PRIMARY KEY,
	owner TEXT NOT NULL UNIQUE,
	balance BIGINT NOT NULL CHECK (balance >= 0)
);
INSERT INTO accounts (id, owner, balance) VALUES (101, 'ann', 100), (102, 'bob', 100);

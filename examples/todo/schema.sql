CREATE TABLE IF NOT EXISTS todos (
	id         UUID PRIMARY KEY,
	title      VARCHAR(200) NOT NULL CHECK (title <> ''),
	text       VARCHAR(5000) NOT NULL CHECK (text <> ''),
	done       BOOL NOT NULL,
	created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS todos_in_order ON todos (done, created_at DESC, id);

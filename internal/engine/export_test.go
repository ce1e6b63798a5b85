package engine

// Folder is where the files of a server started for this run are.
func (e *Engine) Folder() string { return e.server.Folder() }

// PostgresFolders makes PostgreSQL findable on the PATH and there only, until the function it returns is called.
func PostgresFolders(patterns ...string) (restore func()) {
	folders := postgresFolders
	postgresFolders = patterns
	return func() { postgresFolders = folders }
}

package engine

// Folder is where the files of a server started for this run are.
func (e *Engine) Folder() string { return e.server.folder }

// HidePostgres makes PostgreSQL findable on the PATH only, until the function it returns is called.
func HidePostgres() (restore func()) {
	folders := postgresFolders
	postgresFolders = nil
	return func() { postgresFolders = folders }
}

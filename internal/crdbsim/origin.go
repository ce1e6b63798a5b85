package crdbsim

// origin asks for what the start of a session depends on, besides its start-up message: the configuration, which says
// who is let in; the database and the role, with the right to connect and the settings of either. An empty answer
// stands for a session that can't be kept: one that is counted, since it would be in the way of others.
//
// A password is not in it: the session of a client that had to show one is not kept.
const origin = `
SELECT pg_catalog.concat_ws('|', pg_catalog.pg_conf_load_time(), d.oid, d.xmin, r::text,
	pg_catalog.has_database_privilege(d.oid, 'CONNECT'),
	(SELECT pg_catalog.string_agg(s::text, ',' ORDER BY s.setdatabase, s.setrole) FROM pg_catalog.pg_db_role_setting s
		WHERE s.setdatabase IN (0, d.oid) AND s.setrole IN (0, r.oid)))
FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
WHERE d.datname = pg_catalog.current_database() AND r.rolname = SESSION_USER
	AND d.datconnlimit < 0 AND r.rolconnlimit < 0`

// readOrigin takes note of what the session has come from.
func (u *upstream) readOrigin() error {
	value, failed, err := u.run(origin)
	if err == nil && !failed {
		u.origin = value
	}
	return err
}

// unchanged reports whether a session that starts now would come from the same. One that PostgreSQL has ended
// meanwhile would not.
func (u *upstream) unchanged() bool {
	if !u.within(dialTimeout) {
		return false
	}
	now, failed, err := u.run(origin)
	return err == nil && !failed && now == u.origin && u.within(0)
}

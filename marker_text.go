package cockroachdb

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"time"
)

// MarshalText returns by what [CommitOutcome] asks for the outcome, for another process, or for this one after a
// restart: UnmarshalText reads it there. It holds the name of the table of commit markers, a random key and the time of
// the commit, and neither values nor credentials. It is an error if there is no commit marker.
func (e *AmbiguousCommitError) MarshalText() ([]byte, error) {
	if e.mark == nil {
		return nil, errNoMark
	}
	text := url.Values{
		"key":   {e.mark.key.String()},
		"epoch": {e.mark.known.epoch.String()},
		"table": {e.mark.known.name},
		"sent":  {e.mark.at.UTC().Format(time.RFC3339)},
	}
	if e.alone {
		text.Set("alone", "true")
	}
	return []byte(text.Encode()), nil
}

// UnmarshalText makes e an error whose outcome [CommitOutcome] can ask for, by what MarshalText has returned. What had
// gone wrong is not kept.
func (e *AmbiguousCommitError) UnmarshalText(text []byte) error {
	values, err := url.ParseQuery(string(text))
	if err != nil {
		return fmt.Errorf("cockroachdb: reading an AmbiguousCommitError: %w", err)
	}
	m := &marker{table: &markTable{name: values.Get("table")}, known: &known{name: values.Get("table")}}
	key, keyErr := parseUID(values.Get("key"))
	epoch, epochErr := parseUID(values.Get("epoch"))
	sent, sentErr := time.Parse(time.RFC3339, values.Get("sent"))
	if !quotedTable.MatchString(m.known.name) || errors.Join(keyErr, epochErr, sentErr) != nil {
		return errors.New("cockroachdb: reading an AmbiguousCommitError: this is not what its MarshalText has returned, or not all of it")
	}
	m.key, m.known.epoch, m.at = key, epoch, sent
	*e = AmbiguousCommitError{err: errElsewhere, alone: values.Get("alone") == "true", mark: m}
	return nil
}

// errElsewhere stands for what went wrong in another process.
var errElsewhere = errors.New("what went wrong was not kept")

// quotedTable matches the quoted name of a table, with or without its schema and database: it goes into SQL.
var quotedTable = regexp.MustCompile(`^("([^"\x00]|"")+"\.){0,2}"([^"\x00]|"")+"$`)

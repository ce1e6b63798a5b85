package cockroachdb

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// A Report says for how much of what a connector's connections have run a conflict, or a lost connection, could have
// been absorbed at every moment, and what ended that where it could not: see [Connector.Report]. It holds texts of
// statements without their literals, numbers, parameters and comments, and no arguments. It shows names of tables and
// columns.
type Report struct {
	DBName string    `json:"db_name"` // the metrics' label; "" before the first connection, where the DSN does not say
	Since  time.Time `json:"since"`   // when the connector was made
	At     time.Time `json:"at"`      // when the report was

	Transactions Protection `json:"transactions"` // in which something was sent
	Statements   Protection `json:"statements"`   // outside a transaction

	Causes   []ReportCause `json:"causes"`   // what ended protection, the most frequent first
	Texts    []ReportText  `json:"texts"`    // which statements did, the most frequent first; at most 100
	Unlisted int64         `json:"unlisted"` // how often statements did that are not among Texts
}

// Protection counts transactions, or statements outside one, by how far they were protected.
type Protection struct {
	Total int64 `json:"total"` // how many there were

	// UntilCommit is for how many a conflict at any moment, and the loss of the connection before the commit was sent,
	// could have been absorbed.
	UntilCommit int64 `json:"until_commit"`

	// Whole is for how many of these the loss of the answer to the commit could have been absorbed too: the commit had a
	// marker (Config.CommitMarker), there was none, or the statement only reads.
	Whole int64 `json:"whole"`
}

// Share returns UntilCommit as a share of Total, from 0 to 1; 1 if there was nothing.
func (p Protection) Share() float64 { return share(p.UntilCommit, p.Total) }

func share(n, of int64) float64 {
	if of == 0 {
		return 1
	}
	return float64(n) / float64(of)
}

// ReportCause is one cause for which protection ended: the first of each transaction.
type ReportCause struct {
	Cause  Cause  `json:"cause"`  // why
	Count  int64  `json:"count"`  // transactions, or statements outside one
	Remedy string `json:"remedy"` // what to do
}

// ReportText is a statement that ended protection.
type ReportText struct {
	Fingerprint string `json:"fingerprint"` // of Text, 16 hexadecimal digits
	Text        string `json:"text"`        // without values, and cut off after 500 bytes
	Cause       Cause  `json:"cause"`       // why
	Count       int64  `json:"count"`       // transactions, or statements outside one
	Remedy      string `json:"remedy"`      // what to do
}

// String returns the report as text, of several lines.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Protection of %s from %s to %s\n\n", cmp.Or(r.DBName, "a pool"),
		r.Since.UTC().Format(time.DateTime), r.At.UTC().Format(time.DateTime))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\ttransactions\t\tstatements outside\t\n")
	fmt.Fprintf(w, "all\t%d\t\t%d\t\n", r.Transactions.Total, r.Statements.Total)
	row := func(name string, transactions, statements int64) {
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%s\n", name, transactions, percent(transactions, r.Transactions.Total),
			statements, percent(statements, r.Statements.Total))
	}
	row("protected until the commit", r.Transactions.UntilCommit, r.Statements.UntilCommit)
	row("protected, commit included", r.Transactions.Whole, r.Statements.Whole)
	_ = w.Flush()
	b.WriteString("\nProtected: at every moment a conflict or a lost connection could have been absorbed.\n" +
		"The answer to a commit is protected by retry_commit_marker=on.\n")
	r.writeEnds(&b)
	return b.String()
}

func (r Report) writeEnds(b *strings.Builder) {
	if len(r.Causes) == 0 {
		return
	}
	b.WriteString("\nWhat ended it:\n")
	for _, c := range r.Causes {
		fmt.Fprintf(b, "%10d  %s: %s\n", c.Count, c.Cause, c.Remedy)
	}
	if len(r.Texts) == 0 && r.Unlisted == 0 {
		return
	}
	b.WriteString("\nBy statement:\n")
	for _, t := range r.Texts {
		fmt.Fprintf(b, "%10d  %s  %s: %s\n%12s%s\n", t.Count, t.Fingerprint, t.Cause, t.Text, "", t.Remedy)
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(b, "%10d  others\n", r.Unlisted)
	}
}

func percent(n, of int64) string { return fmt.Sprintf("%.1f %%", 100*share(n, of)) }

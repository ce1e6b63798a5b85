package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/reprise-go/cockroachdb/reliability/program"
)

// A class is anomalies that look alike.
type class struct {
	kind, text string
	count      int
	round      *program.Round // the first
}

// particulars are what differs between anomalies of one class: numbers, and what was shown.
var particulars = regexp.MustCompile(`[0-9]+|shown: .*|model: .*`)

// longestText is where the text of a class is cut.
const longestText = 250

// summarize lists what was found, alike with alike, with a round for each.
func (s *soaking) summarize(w io.Writer) {
	classes := make(map[string]*class)
	for _, f := range s.found {
		for _, a := range f.anomalies {
			text := particulars.ReplaceAllString(a.Text, "#")
			key := a.Kind + text
			if classes[key] == nil {
				classes[key] = &class{kind: a.Kind, text: a.Text[:min(len(a.Text), longestText)], round: f.round}
			}
			classes[key].count++
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(classes), func(a, b string) int { return classes[b].count - classes[a].count }) {
		c := classes[key]
		fmt.Fprintf(w, "\n%d times %s: %s\n  %s\n", c.count, c.kind, c.text, s.repeat(c.round))
	}
}

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
	first program.Anomaly
	round *program.Round // where that was
	count int
}

// particulars are what differs between anomalies of one class: numbers, what was shown, and the reasons of conflicts.
var particulars = regexp.MustCompile(`restart transaction: .*|[0-9]+|shown: .*|model: .*`)

// summarize lists what was found, alike with alike, with a round for each.
func (s *soaking) summarize(w io.Writer) {
	classes := make(map[string]*class)
	for _, f := range s.found {
		for _, a := range f.anomalies {
			text := particulars.ReplaceAllString(a.Text, "#")
			key := fmt.Sprint(a.Kind, f.round.Wrapped, text)
			if classes[key] == nil {
				classes[key] = &class{first: a, round: f.round}
			}
			classes[key].count++
		}
	}
	byCount := func(a, b string) int { return classes[b].count - classes[a].count }
	for _, key := range slices.SortedFunc(maps.Keys(classes), byCount) {
		c := classes[key]
		through := map[bool]string{true: " through a driver around this one"}[c.round.Wrapped]
		fmt.Fprintf(w, "\n%d times%s:\n  %s\n%v\n", c.count, through, s.repeat(c.round), c.first)
	}
}

package main

import (
	"fmt"
	"io"
	"slices"
)

// summarize prints what an operation takes without markers and with them.
func summarize(w io.Writer, o op, trips [2]float64, samples [2][]sample) {
	fmt.Fprintf(w, "%s\n\tround trips\t\t%.1f\t%.1f\n", o.name, trips[0], trips[1])
	for _, line := range []struct {
		what string
		of   func(sample) float64
		unit float64
	}{
		{"client's processor, µs", func(s sample) float64 { return s.client }, 1e3},
		{"server's processor, µs", func(s sample) float64 { return s.server }, 1e3},
		{"time, µs\t", func(s sample) float64 { return s.time }, 1e3},
		{"WAL, bytes\t", func(s sample) float64 { return s.wal }, 1},
	} {
		var all [2][]float64
		var ratios []float64
		for i, without := range samples[0] {
			with := samples[1][i]
			all[0], all[1] = append(all[0], line.of(without)/line.unit), append(all[1], line.of(with)/line.unit)
			ratios = append(ratios, line.of(with)/line.of(without))
		}
		ratio := "–"
		if quantile(all[0], 0.5) > 0 {
			ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75))
		}
		fmt.Fprintf(w, "\t%s\t%.1f\t%.1f\t%s\n", line.what, quantile(all[0], 0.5), quantile(all[1], 0.5), ratio)
	}
}

func quantile(of []float64, q float64) float64 {
	slices.Sort(of)
	return of[int(q*float64(len(of)-1))]
}

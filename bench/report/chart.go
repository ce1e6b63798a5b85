package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// The chart has a panel for each latency, a group of bars for each workload, and a bar for each of these peers: how
// many times what pgx's loop commits the peer does. The scale is logarithmic, so that half and twice look alike.
var bars = []struct{ peer, label, colour string }{
	{"ExecuteTx", "cockroach-go ExecuteTx", "#9aa5b1"},
	{"transparent", "this driver", "#2f6fdb"},
	{"RunTx", "this driver, RunTx", "#7fb0ff"},
}

const (
	baseline = "pgx-loop"

	barWidth    = 22
	groupWidth  = 3*barWidth + 26
	panelHeight = 220
	panelGap    = 30
	left, top   = 60, 74
	most, least = 8.0, 1.0 / 4 // where the scale ends
)

func drawChart(all *results) []byte {
	width := left + groupWidth*len(all.workloads) + 20
	height := top + (panelHeight+panelGap)*len(all.latencies)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="12" fill="#24292f">`+"\n",
		width, height, width, height)
	b.WriteString(`<rect width="100%" height="100%" fill="#ffffff"/>` + "\n")
	text(&b, left, 22, "start", 15, "Committed transactions a second, as a multiple of what a loop over pgx commits")
	for i, bar := range bars {
		x := left + 200*i
		fmt.Fprintf(&b, `<rect x="%d" y="36" width="12" height="12" fill="%s"/>`+"\n", x, bar.colour)
		text(&b, x+18, 47, "start", 12, bar.label)
	}
	for i, latency := range all.latencies {
		all.drawPanel(&b, latency, top+(panelHeight+panelGap)*i, width)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (all *results) drawPanel(b *bytes.Buffer, latency string, y, width int) {
	text(b, left, y+12, "start", 13, heading(latency))
	y += 22
	for v := least; v <= most; v *= 2 {
		at, colour := y+offset(v), "#e4e8ec"
		if v == 1 {
			colour = "#24292f"
		}
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s"/>`+"\n", left, width-20, at, at, colour)
		text(b, left-8, at+4, "end", 12, fmt.Sprintf("%g ×", v))
	}
	for i, w := range all.workloads {
		x := left + 13 + groupWidth*i
		for j, bar := range bars {
			v := all.of(w, bar.peer, latency, "commits/s") / all.of(w, baseline, latency, "commits/s")
			if v > 0 && !math.IsInf(v, 0) {
				drawBar(b, x+barWidth*j, y, v, bar.colour)
			}
		}
		text(b, x+groupWidth/2-13, y+panelHeight-22, "middle", 11, w)
	}
}

// drawBar draws from one times to v times, and writes v beside its end.
func drawBar(b *bytes.Buffer, x, y int, v float64, colour string) {
	from, to := offset(1), offset(min(max(v, least), most))
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n",
		x, y+min(from, to), barWidth-2, max(from-to, to-from, 1), colour)
	at := y + to - 3
	if v < 1 {
		at = y + to + 10
	}
	text(b, x+barWidth/2-1, at, "middle", 9, fmt.Sprintf("%.2g", v))
}

// offset is where v is on the scale, from its upper end.
func offset(v float64) int {
	const room = panelHeight - 50
	return int(math.Round(room * math.Log(most/v) / math.Log(most/least)))
}

func text(b *bytes.Buffer, x, y int, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s" font-size="%d">%s</text>`+"\n",
		x, y, anchor, size, html.EscapeString(s))
}

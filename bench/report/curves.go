package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	quick = color.RGBA{R: 0x2f, G: 0x6f, B: 0xdb, A: 0xff}
	slow  = color.RGBA{R: 0xd9, G: 0x6b, B: 0x1f, A: 0xff}
)

// drawCurves has a panel for each knob and a curve for each latency: commits a second at each of the knob's values, as
// a multiple of what the first of them commits, in the geometric mean over the workloads.
func drawCurves(all *sweeps) ([]byte, error) {
	knobs := all.list("Policy", "knob")
	const width, height, mostInARow = 330, 260, 4
	columns := min(mostInARow, len(knobs))
	rows := (len(knobs) + columns - 1) / columns
	c := vgsvg.New(vg.Length(columns*width), vg.Length(rows*height))
	canvas := draw.New(c)
	for i, knob := range knobs {
		p, err := all.panel(knob)
		if err != nil {
			return nil, err
		}
		x, y := i%columns, i/columns
		p.Draw(draw.Crop(canvas, vg.Length(x*width)+6, vg.Length((x+1-columns)*width)-6,
			vg.Length((rows-1-y)*height)+4, vg.Length(-y*height)-4))
	}
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	return b.Bytes(), err
}

func (all *sweeps) panel(knob string) (*plot.Plot, error) {
	values := all.list("Policy", "value", "knob", knob)
	p := plot.New()
	p.Title.Text, p.X.Label.Text = spaced(knob), "value"
	p.Y.Label.Text = fmt.Sprintf("commits/s (1: at %s)", spaced(values[0]))
	p.BackgroundColor = color.White
	p.NominalX(values...)
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Left = true, true
	for i, latency := range all.list("Policy", "latency") {
		points := make(plotter.XYs, len(values))
		for x, v := range values {
			points[x] = plotter.XY{X: float64(x), Y: all.mean(knob, v, latency) / all.mean(knob, values[0], latency)}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Width, line.Color, dots.Color = vg.Points(2), []color.Color{quick, slow}[i%2], []color.Color{quick, slow}[i%2]
		dots.Shape, dots.Radius = draw.CircleGlyph{}, vg.Points(3)
		p.Add(line, dots)
		p.Legend.Add(heading(latency), line, dots)
		for _, point := range points {
			p.Y.Max = max(p.Y.Max, 1.25*point.Y) // room for the legend
		}
	}
	p.Y.Min = 0
	return p, nil
}

// mean is the geometric mean of the commits over the workloads.
func (all *sweeps) mean(knob, value, latency string) float64 {
	sum, workloads := 0.0, all.list("Policy", "workload")
	for _, w := range workloads {
		sum += math.Log(all.of("Policy", "commits/s", "knob", knob, "value", value, "workload", w, "latency", latency))
	}
	return math.Exp(sum / float64(len(workloads)))
}

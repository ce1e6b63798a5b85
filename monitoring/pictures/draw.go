package main

import (
	"cmp"
	"fmt"
	"image/color"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

const (
	columns     = 2
	panelWidth  = 5.2 * vg.Inch
	panelHeight = 2.7 * vg.Inch
	legendWidth = 1.35 * vg.Inch
	margin      = 0.12 * vg.Inch
	dpi         = 180 // twice what a page shows, for screens that can
)

// colours are told apart by those who don't see all of them, too: Okabe and Ito's.
var colours = []color.Color{
	color.RGBA{R: 0x00, G: 0x72, B: 0xb2, A: 255},
	color.RGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 255},
	color.RGBA{R: 0x00, G: 0x9e, B: 0x73, A: 255},
	color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 255},
	color.RGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 255},
	color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 255},
}

var (
	ink  = color.RGBA{R: 0x24, G: 0x29, B: 0x2f, A: 255}
	grey = color.RGBA{R: 0xe1, G: 0xe4, B: 0xe8, A: 255}
)

// drawPicture draws panels into a PNG file.
func drawPicture(file string, panels []observed) error {
	rows := (len(panels) + columns - 1) / columns
	img := vgimg.NewWith(vgimg.UseWH(columns*panelWidth, vg.Length(rows)*panelHeight), vgimg.UseDPI(dpi))
	tiles := draw.Tiles{
		Cols: columns, Rows: rows, PadX: margin, PadY: margin,
		PadTop: margin, PadBottom: margin, PadLeft: margin, PadRight: margin,
	}
	canvas := draw.New(img)
	for i, panel := range panels {
		if err := panel.draw(tiles.At(canvas, i%columns, i/columns)); err != nil {
			return fmt.Errorf("%s: %w", panel.Title, err)
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(f); err != nil {
		return err
	}
	return f.Close()
}

// draw draws the panel with its legend beside it.
func (o observed) draw(c draw.Canvas) error {
	p, legend := newPlot(o.Title), plot.NewLegend()
	p.X.Label.Text = "seconds"
	p.Y.Label.Text = o.FieldConfig.Defaults.Custom.AxisLabel
	legend.TextStyle = style(8)
	legend.Top, legend.Left, legend.Padding, legend.ThumbnailWidth = true, true, 0.05*vg.Inch, 0.18*vg.Inch
	add := o.addLines
	if o.Type == "heatmap" {
		add = o.addHeat
	}
	if err := add(p, &legend); err != nil {
		return err
	}
	p.Draw(draw.Crop(c, 0, -legendWidth, 0, 0))
	legend.Draw(draw.Crop(c, panelWidth-legendWidth-margin, 0, 0, -0.3*vg.Inch))
	return nil
}

func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle.Font, p.Title.TextStyle.Color = style(11).Font, ink
	p.Title.Padding = 0.08 * vg.Inch
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Label.TextStyle.Color = style(8.5).Font, ink
		a.Label.Padding = 0.04 * vg.Inch
		a.Tick.Label.Font, a.Tick.Label.Color = style(8).Font, ink
		a.LineStyle.Color, a.Tick.LineStyle.Color = ink, ink
		a.LineStyle.Width, a.Tick.LineStyle.Width = 0.5, 0.5
		a.Tick.Marker = plot.TickerFunc(round)
	}
	return p
}

func style(size vg.Length) text.Style {
	return text.Style{
		Color: ink, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: plot.DefaultFont.Typeface, Variant: "Sans", Size: size},
	}
}

// addLines adds a line for each series. Those that stay at zero are left out, for there are many of them.
func (o observed) addLines(p *plot.Plot, legend *plot.Legend) error {
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = grey, nil
	p.Add(grid)
	p.X.Min, p.Y.Min = 0, 0
	inSeconds := o.FieldConfig.Defaults.Unit == "s"
	drawn := 0
	for i, answer := range o.answers {
		slices.SortFunc(answer, func(a, b *model.SampleStream) int { return cmp.Compare(peak(b), peak(a)) })
		for _, s := range answer {
			points := o.points(s)
			if peak(s) == 0 || len(points) == 0 {
				continue
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return err
			}
			line.Color = colours[drawn%len(colours)]
			line.Width = max(1.1, 1.9-0.4*vg.Length(drawn)) // thinner, for one that lies on another
			drawn++
			p.Add(line)
			legend.Add(named(o.Targets[i].LegendFormat, s.Metric), line)
		}
	}
	if inSeconds { // from less than a millisecond to seconds
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(decades)
		p.Y.Min, p.Y.Max = 0.0005, math.Max(1, p.Y.Max)
	}
	return nil
}

// round puts some four marks at round numbers.
func round(lowest, highest float64) (ticks []plot.Tick) {
	apart := math.Pow(10, math.Floor(math.Log10((highest-lowest)/3)))
	for _, times := range []float64{5, 2} {
		if (highest-lowest)/(times*apart) >= 3 {
			apart *= times
			break
		}
	}
	for n := math.Ceil(lowest / apart); n*apart <= highest; n++ {
		ticks = append(ticks, plot.Tick{Value: n * apart, Label: strconv.FormatFloat(n*apart, 'g', 6, 64)})
	}
	return ticks
}

func decades(lowest, highest float64) (ticks []plot.Tick) {
	for _, v := range []float64{0.001, 0.01, 0.1, 1, 10, 100} {
		if v >= lowest && v <= highest {
			ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprint(v)})
		}
	}
	return ticks
}

// points are the samples that are numbers, by seconds since the start.
func (o observed) points(s *model.SampleStream) (points plotter.XYs) {
	for _, v := range s.Values {
		if y := float64(v.Value); !math.IsNaN(y) {
			points = append(points, plotter.XY{X: v.Timestamp.Time().Sub(o.start).Seconds(), Y: y})
		}
	}
	return points
}

// peak is the largest sample.
func peak(s *model.SampleStream) (most float64) {
	for _, v := range s.Values {
		if y := float64(v.Value); !math.IsNaN(y) {
			most = max(most, y)
		}
	}
	return most
}

var placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)

// named gives a series its name, as Grafana does by the target's legend.
func named(format string, metric model.Metric) string {
	return strings.TrimSpace(placeholder.ReplaceAllStringFunc(format, func(found string) string {
		return string(metric[model.LabelName(strings.Trim(found, "{}"))])
	}))
}

package main

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A heat is a histogram's buckets over time: a column for each second, a row for each bucket.
type heat struct {
	counts [][]float64 // by row, then column
	ends   []float64   // the buckets' upper ends
	most   float64
}

func (h *heat) Dims() (columns, rows int) { return len(h.counts[0]), len(h.counts) }
func (h *heat) X(column int) float64      { return float64(column) * step.Seconds() }
func (h *heat) Y(row int) float64         { return float64(row) }
func (h *heat) Z(column, row int) float64 { return h.depth(h.counts[row][column]) }
func (h *heat) Min() float64              { return 0 }
func (h *heat) Max() float64              { return 1 }

// depth is how dark a count is drawn. The exponent is that of the dashboard: the few are what one looks for.
func (h *heat) depth(count float64) float64 {
	if count < 0.5 { // increase() extrapolates
		return math.NaN()
	}
	return math.Pow(min(count/h.most, 1), 0.3)
}

// newHeat takes the buckets apart, each of which counts all below it too.
func newHeat(o observed) (*heat, error) {
	type bucket struct {
		end float64
		*model.SampleStream
	}
	var buckets []bucket
	for _, s := range o.answers[0] {
		end, err := strconv.ParseFloat(string(s.Metric["le"]), 64)
		if err != nil {
			return nil, err
		}
		buckets = append(buckets, bucket{end, s})
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return int(math.Copysign(1, a.end-b.end)) })
	last := 0
	column := func(v model.SamplePair) int {
		return int(math.Round(v.Timestamp.Time().Sub(o.start).Seconds() / step.Seconds()))
	}
	for _, b := range buckets {
		last = max(last, column(b.Values[len(b.Values)-1]))
	}
	h := &heat{}
	below := make([]float64, last+1)
	for _, b := range buckets {
		counts := make([]float64, last+1)
		for _, v := range b.Values {
			at := column(v)
			counts[at] = max(float64(v.Value)-below[at], 0)
			below[at] = float64(v.Value)
			h.most = max(h.most, counts[at])
		}
		h.counts, h.ends = append(h.counts, counts), append(h.ends, b.end)
	}
	return h, nil
}

// blues go from light to dark.
type blues struct{}

func (blues) Colors() []color.Color {
	var all []color.Color
	for i := range 64 {
		all = append(all, blue(float64(i)/63))
	}
	return all
}

func blue(depth float64) color.Color {
	mix := func(light, dark float64) uint8 { return uint8(light + (dark-light)*depth) }
	return color.RGBA{R: mix(0xe3, 0x08), G: mix(0xee, 0x30), B: mix(0xf9, 0x6b), A: 255}
}

// swatch is a square of one colour in the legend.
type swatch struct{ color.Color }

func (s swatch) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(s.Color, []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
}

func (o observed) addHeat(p *plot.Plot, legend *plot.Legend) error {
	h, err := newHeat(o)
	if err != nil {
		return err
	}
	drawn := plotter.NewHeatMap(h, blues{})
	drawn.NaN, drawn.Rasterized = color.White, true
	p.Add(drawn)
	p.Y.Tick.Marker = plot.TickerFunc(func(float64, float64) (ticks []plot.Tick) {
		for row, end := range h.ends {
			label := fmt.Sprint(end)
			if math.IsInf(end, 1) {
				label = "more"
			}
			ticks = append(ticks, plot.Tick{Value: float64(row), Label: label})
		}
		return ticks
	})
	legend.Add(fmt.Sprintf("transactions in %v:", window))
	for count := 1.0; count <= h.most; count *= 10 {
		legend.Add(fmt.Sprint(count), swatch{blue(h.depth(count))})
	}
	return nil
}

package main

import (
	"cmp"
	"fmt"
	"image"
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
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.end, b.end) })
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

// picture has a rectangle for each count. They are large, so that what scales the picture does not blur them.
func (h *heat) picture() image.Image {
	const width, height = 12, 60
	img := image.NewRGBA(image.Rect(0, 0, width*len(h.counts[0]), height*len(h.counts)))
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			count := h.counts[len(h.counts)-1-y/height][x/width]
			img.Set(x, y, h.colour(count))
		}
	}
	return img
}

// colour goes from light to dark blue. The exponent is that of the dashboard: the few are what one looks for.
func (h *heat) colour(count float64) color.Color {
	if count < 0.5 { // increase() extrapolates
		return color.White
	}
	depth := math.Pow(min(count/h.most, 1), 0.3)
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
	p.Add(plotter.NewImage(h.picture(), 0, -0.5, float64(len(h.counts[0]))*step.Seconds(), float64(len(h.counts))-0.5))
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
		legend.Add(fmt.Sprint(count), swatch{h.colour(count)})
	}
	return nil
}

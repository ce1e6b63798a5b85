// The command dashboard writes monitoring/dashboard.json. What is on the dashboard is in panels.go; this is where it
// is put into Grafana's words.
//
//	go run ./dashboard >dashboard.json
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	text, err := build()
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// build gives the dashboard as JSON.
func build() ([]byte, error) {
	//nolint:staticcheck // the classic model on purpose: every Grafana imports it, the new one only the latest
	b := dashboard.NewDashboardBuilder("cockroachdb: transactions that retry").
		Uid("reprise-cockroachdb").
		Description("What the Go driver github.com/reprise-go/cockroachdb makes of conflicts, and what your application notices of them.").
		Tags([]string{"cockroachdb", "go", "sql"}).
		Time("now-1h", "now").
		Refresh("30s").
		Tooltip(dashboard.DashboardCursorSyncCrosshair)
	for _, v := range variables() {
		b.WithVariable(v)
	}
	id := uint32(0)
	next := func() uint32 { id++; return id }
	for _, r := range rows {
		b.WithRow(dashboard.NewRowBuilder(r.title).Id(next()))
		for _, p := range r.panels {
			b.WithPanel(p.builder(next(), fullWidth/uint32(len(r.panels))))
		}
	}
	d, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("put the dashboard together: %w", err)
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

// variables are what the dashboard can be narrowed by. Each of them offers what the ones before it leave.
func variables() []cog.Builder[dashboard.VariableModel] {
	all := []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus"),
	}
	narrowed := ""
	for _, label := range []string{"job", "instance", "db_name"} {
		query := fmt.Sprintf("label_values(cockroachdb_transactions_total{%s}, %s)", narrowed, label)
		all = append(all, dashboard.NewQueryVariableBuilder(label).
			Label(label).
			Datasource(datasource()).
			Definition(query).
			Query(dashboard.StringOrMap{Map: map[string]any{"query": query, "refId": label}}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
			Sort(dashboard.VariableSortAlphabeticalAsc).
			Multi(true).
			IncludeAll(true).
			AllValue(".*").
			Current(dashboard.VariableOption{
				Text:  dashboard.StringOrArrayOfString{String: new("All")},
				Value: dashboard.StringOrArrayOfString{String: new("$__all")},
			}))
		if narrowed != "" {
			narrowed += ", "
		}
		narrowed += label + `=~"$` + label + `"`
	}
	return all
}

func datasource() common.DataSourceRef {
	return common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}
}

// fullWidth is how wide Grafana says that a dashboard is.
const fullWidth = 24

// builder puts a panel into Grafana's words.
func (p panel) builder(id, width uint32) cog.Builder[dashboard.Panel] {
	switch p.kind {
	case glance:
		return p.stat(id, width)
	case heat:
		return p.heatmap(id, width)
	default:
		return p.timeseries(id, width)
	}
}

func (p panel) stat(id, width uint32) cog.Builder[dashboard.Panel] {
	b := stat.NewPanelBuilder().Id(id).
		Title(p.title).Description(p.means).Unit(p.unit).Span(width).Height(5).Datasource(datasource()).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		GraphMode(common.BigValueGraphModeArea).
		Orientation(common.VizOrientationAuto).
		ColorMode(common.BigValueColorModeValue).
		Thresholds(p.thresholds())
	if p.whole {
		b.Decimals(0)
	}
	for _, q := range p.targets() {
		b.WithTarget(q)
	}
	return b
}

// thresholds are green until the panel's limit, from which on its number is bad news; without one it has one colour.
func (p panel) thresholds() *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Color: "green"}}
	if p.bad != 0 {
		steps = append(steps, dashboard.Threshold{Color: "red", Value: new(p.bad)})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func (p panel) heatmap(id, width uint32) cog.Builder[dashboard.Panel] {
	b := heatmap.NewPanelBuilder().Id(id).
		Title(p.title).Description(p.means).Span(width).Height(8).Datasource(datasource()).
		Calculate(false).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(p.unit).AxisLabel(p.axis)).
		Color(heatmap.NewHeatmapColorOptionsBuilder().
			Mode(heatmap.HeatmapColorModeScheme).
			Scheme("Blues").
			Scale(heatmap.HeatmapColorScaleExponential).
			Exponent(0.3). // few transactions need many attempts, and they are what one looks for
			Steps(64)).
		FilterValues(heatmap.NewFilterValueRangeBuilder().Le(1e-9)).
		ShowLegend()
	for _, q := range p.targets() {
		b.WithTarget(q.Format(prometheus.PromQueryFormatHeatmap))
	}
	return b
}

func (p panel) timeseries(id, width uint32) cog.Builder[dashboard.Panel] {
	placement := common.LegendPlacementRight
	if width < fullWidth/2 {
		placement = common.LegendPlacementBottom
	}
	b := timeseries.NewPanelBuilder().Id(id).
		Title(p.title).Description(p.means).Unit(p.unit).Span(width).Height(8).Datasource(datasource()).
		AxisLabel(p.axis).
		Min(0).
		LineWidth(1).
		FillOpacity(10).
		ShowPoints(common.VisibilityModeNever).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Legend(common.NewVizLegendOptionsBuilder().
			ShowLegend(true).
			DisplayMode(common.LegendDisplayModeTable).
			Placement(placement).
			Calcs([]string{"mean", "max"}).
			SortBy("Mean").SortDesc(true))
	for _, q := range p.targets() {
		b.WithTarget(q)
	}
	return b
}

func (p panel) targets() []*prometheus.DataqueryBuilder {
	var all []*prometheus.DataqueryBuilder
	for i, q := range p.queries {
		all = append(all, prometheus.NewDataqueryBuilder().
			Expr(q.expr).
			LegendFormat(q.legend).
			RefId(string(rune('A'+i))).
			EditorMode(prometheus.QueryEditorModeCode).
			Range())
	}
	return all
}

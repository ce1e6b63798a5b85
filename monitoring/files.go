// Package monitoring is what operators load into Grafana and Prometheus: dashboard.json, rules.yaml and alerts.yaml,
// which docs/monitoring.md explains. The package reads them, for the tests, and for the program that draws the
// pictures.
//
// dashboard.json is written by the command dashboard; the others are written by hand.
package monitoring

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed dashboard.json
var dashboardJSON []byte

//go:embed rules.yaml
var rulesYAML []byte

//go:embed alerts.yaml
var alertsYAML []byte

// A Panel is one of the dashboard's.
type Panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Targets     []struct {
		Expr         string
		LegendFormat string
	}
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Custom struct{ AxisLabel string }
		}
	}
}

// A Variable is something that the dashboard can be narrowed by.
type Variable struct {
	Name       string
	Type       string
	Definition string
}

// A Dashboard is what of dashboard.json can be right or wrong without Grafana.
type Dashboard struct {
	Panels     []Panel // the rows among them, which have Type "row"
	Templating struct{ List []Variable }
}

// ReadDashboard reads dashboard.json.
func ReadDashboard() (Dashboard, error) {
	var d Dashboard
	if err := json.Unmarshal(dashboardJSON, &d); err != nil {
		return d, fmt.Errorf("read dashboard.json: %w", err)
	}
	return d, nil
}

// A Rule is one of rules.yaml, with Record, or of alerts.yaml, with Alert.
type Rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// ReadRules reads rules.yaml and alerts.yaml, in this order.
func ReadRules() ([]Rule, error) {
	var all []Rule
	for _, text := range [][]byte{rulesYAML, alertsYAML} {
		var file struct {
			Groups []struct {
				Name  string `yaml:"name"`
				Rules []Rule `yaml:"rules"`
			} `yaml:"groups"`
		}
		d := yaml.NewDecoder(bytes.NewReader(text))
		d.KnownFields(true)
		if err := d.Decode(&file); err != nil {
			return nil, fmt.Errorf("read rules.yaml and alerts.yaml: %w", err)
		}
		for _, g := range file.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all, nil
}

// Fill puts values in place of the dashboard's variables, as Grafana does: all jobs, instances and databases, and
// window for the time over which rates are taken.
func Fill(expr string, window time.Duration) string {
	w := fmt.Sprintf("%ds", int(window.Seconds()))
	return strings.NewReplacer(
		"$__rate_interval", w, "$__range", w, "$job", ".*", "$instance", ".*", "$db_name", ".*",
	).Replace(expr)
}

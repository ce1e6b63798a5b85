package monitoring

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestDashboard looks for what Grafana would not complain about.
func TestDashboard(t *testing.T) {
	d, err := ReadDashboard()
	require.NoError(t, err)
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	assert.Equal(t, []string{"datasource", "job", "instance", "db_name"}, variables)
	ids := map[int]bool{}
	for _, p := range d.Panels {
		assert.False(t, ids[p.ID] || p.ID == 0, "%s: id %d", p.Title, p.ID)
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		assert.Regexp(t, `\.$`, p.Description, p.Title)
		if p.Type == "timeseries" {
			assert.NotEmpty(t, p.FieldConfig.Defaults.Unit, p.Title)
			assert.NotEmpty(t, p.FieldConfig.Defaults.Custom.AxisLabel, p.Title)
		}
		for _, q := range p.Targets {
			assert.NotEmpty(t, q.LegendFormat, p.Title)
			for _, variable := range []string{"$job", "$instance", "$db_name"} {
				names, err := NamesIn(Fill(q.Expr, 1e9))
				require.NoError(t, err)
				assert.Equal(t, len(names.Selectors), strings.Count(q.Expr, `"`+variable+`"`),
					"%s: each selector goes by %s", p.Title, variable)
			}
		}
	}
}

// TestAlerts says what each alert has to have.
func TestAlerts(t *testing.T) {
	rules, err := ReadRules()
	require.NoError(t, err)
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		assert.NotEmpty(t, r.For, r.Alert)
		assert.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		assert.Contains(t, r.Annotations["summary"], "$labels.job", r.Alert)
		assert.Greater(t, strings.Count(r.Annotations["description"], ". "), 1, "%s: what it means, and what to do", r.Alert)
	}
}

// TestReadmeExplainsEverything holds README.md against the dashboard and the rules: each row, panel, alert and recorded
// series is in it, and each alert that a text names is there.
func TestReadmeExplainsEverything(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	page := string(text)
	d, err := ReadDashboard()
	require.NoError(t, err)
	titles := map[string]bool{}
	for _, p := range d.Panels {
		titles[p.Title] = true
		if p.Type == "row" {
			assert.Contains(t, page, "\n### "+p.Title+"\n")
		} else {
			assert.Contains(t, page, "\n- **"+p.Title+"**: "+p.Description+"\n")
		}
	}
	rules, err := ReadRules()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, r := range rules {
		names[r.Alert] = true
		assert.Contains(t, page, "`"+r.Record+r.Alert+"`")
	}
	for _, r := range rules {
		page += r.Annotations["description"]
		for _, title := range regexp.MustCompile(`"([A-Z][^"]+)"`).FindAllStringSubmatch(r.Annotations["description"], -1) {
			if title[1] != "My transactions diverge" { // in docs/tuning.md
				assert.True(t, titles[title[1]], "%s: no panel or row %q", r.Alert, title[1])
			}
		}
	}
	for _, name := range regexp.MustCompile(`CockroachDB[A-Z]\w+`).FindAllString(page, -1) {
		assert.True(t, names[name], "there is no alert %s", name)
	}
}

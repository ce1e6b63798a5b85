module github.com/reprise-go/cockroachdb/monitoring

go 1.26.0

replace github.com/reprise-go/cockroachdb => ../

require github.com/grafana/grafana-foundation-sdk/go v0.0.22

module github.com/reprise-go/cockroachdb/reliability

go 1.26.0

replace github.com/reprise-go/cockroachdb => ../

# Each target does its own set-up. `make` alone lists them.

SHELL := /bin/bash

# Every module of the repository, wherever it is; those in tools have no code of their own.
MODULES := $(sort $(dir $(shell find . -name .git -prune -o -name testdata -prune -o -name go.mod -print)))
TESTED  := $(filter-out ./tools/%,$(MODULES))

# The next Go, which must work as well as the oldest that go.mod allows. It comes through the module proxy.
NEXT_GO := go1.27.3

# In CI the pictures that tests take are kept, in _artifacts folders.
TEST_FLAGS ?= -race -shuffle=on -timeout=20m $(if $(CI),-artifacts)
GOLANGCI   := go tool -modfile=$(CURDIR)/tools/go.mod golangci-lint
ACTIONLINT := go tool -modfile=$(CURDIR)/tools/actionlint/go.mod actionlint

# each runs $(2) in each module of $(1), says where, and stops at the first that fails.
each = @set -e; for m in $(1); do echo "== $$m: $(strip $(2))"; (cd $$m && $(2)); done

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: engine
engine: ## make sure that there is a database to run on, and say which
	@go build -o /dev/null ./internal/engine/which # what does not compile is no reason to install anything
	@go run ./internal/engine/which >/dev/null 2>&1 || ./tools/install-postgresql || true
	@go run ./internal/engine/which

.PHONY: prometheus
prometheus:
	@{ command -v prometheus && command -v promtool; } >/dev/null || test -x .cache/prometheus/promtool || ./tools/install-prometheus || true

.PHONY: pgbouncer
pgbouncer:
	@{ command -v pgbouncer || command -v /usr/sbin/pgbouncer; } >/dev/null || test -x .cache/pgbouncer/pgbouncer || ./tools/install-pgbouncer || true

.PHONY: haproxy
test: haproxy
haproxy:
	@{ command -v haproxy || command -v /usr/sbin/haproxy; } >/dev/null || test -x .cache/haproxy/haproxy || ./tools/install-haproxy || true

.PHONY: demo
demo: ## the bank, through pgx and through this driver (DEMO_FLAGS='-contention cockroachdb|postgresql -duration 10s -workers 32 -metrics :2112')
	cd examples && go run ./bank $(DEMO_FLAGS)

.PHONY: todo
todo: engine ## a list of things to do as a web page, on http://localhost:8080 (TODO_FLAGS='-conflicts -wire')
	cd examples && go run ./todo demo $(TODO_FLAGS)

# Without a browser the tests that need one are skipped. In CI they fail.
.PHONY: browser
browser:
	@./tools/install-chromium || echo "there is no Chromium, and it can't be installed from here: some tests will be skipped" >&2

.PHONY: test
test: engine prometheus pgbouncer browser compiler test-go matrix test-next ## every test of every module, and the driver's on the next Go too

.PHONY: one
one: ## one test of the driver, by the beginning of its name (T=TestReplay)
	go test -race -v -run '^$(T)' . ./internal/... ./tests/...

.PHONY: ci
ci: ## test, lint and vuln, as before a merge
	.ci/run

# Examples need a database: they are left out, and -short skips every test that asks for one. The two
# packages that are the database are left out whole.
.PHONY: quick
quick: ## what needs no database, of the driver alone
	go test -short -run '^(Test|Fuzz)' $$(go list . ./internal/... ./tests/... | grep -Ev '/internal/(engine|crdbsim)$$')

.PHONY: test-go
test-go:
	$(call each,$(TESTED),FAULT_MATRIX=sample go test $(TEST_FLAGS) ./...)

# The race detector makes it three times as long, and has been over a sample of it.
.PHONY: matrix
matrix: engine ## the whole fault matrix, and its golden files (MATRIX=. for those with markers, by BEGIN and of newer servers)
	go test -count=1 -timeout=40m -run '$(or $(MATRIX),^TestFaultMatrix(_RealSockets)?$$)' ./tests/faultmatrix

# What runs on a real CockroachDB: the driver, and what users write on top of it.
.PHONY: test-cockroachdb
test-cockroachdb: pgbouncer ## the tests on the CockroachDB that COCKROACH_URL names
	@test -n "$$COCKROACH_URL" || { echo "COCKROACH_URL must name a CockroachDB, such as postgresql://root@localhost:26257/defaultdb?sslmode=disable" >&2; exit 1; }
	$(call each,./ ./compat/ ./docs/migrating/ ./examples/,go test $(TEST_FLAGS) ./...)

# Without a network the next Go may be out of reach. That is no reason to fail at somebody's desk; in CI it is. The race detector has been
# over the same code.
.PHONY: test-next
test-next:
	@case "$$(go env GOVERSION)" in $(basename $(NEXT_GO))*) exit;; esac; \
	if ! GOTOOLCHAIN=$(NEXT_GO) go version; then \
		echo "$(NEXT_GO) is not available from the module proxy; set GOPROXY to one that has it" >&2; \
		test -z "$$CI"; exit; \
	fi; \
	echo "== $(NEXT_GO)"; FAULT_MATRIX=sample GOTOOLCHAIN=$(NEXT_GO) go test $(filter-out -race,$(TEST_FLAGS)) . ./tests/...

.PHONY: compiler
compiler:
	@case "$(TEST_FLAGS)" in *-race*) command -v "$$(go env CC)" >/dev/null || { \
		echo "the race detector needs a C compiler: install gcc, or run make test TEST_FLAGS=-shuffle=on" >&2; exit 1; };; esac

.PHONY: lint
lint: ## golangci-lint with vet and gofumpt, tidiness of every go.mod, the GitHub workflow, and a script
	$(call each,$(TESTED),$(GOLANGCI) run --allow-parallel-runners)
	$(call each,$(MODULES),go mod tidy -diff)
	$(ACTIONLINT) .github/workflows/*.yml
	tools/bench-compare-test

.PHONY: vuln
vuln: ## known vulnerabilities in what the modules use; says so where their database is out of reach
	tools/vuln-test
	tools/vuln $(TESTED)

.PHONY: fmt
fmt: ## format everything, and tidy every go.mod
	$(call each,$(TESTED),$(GOLANGCI) fmt)
	$(call each,$(MODULES),go mod tidy)

# One pass over everything takes some ten minutes; long is three of them, with twice the time for each benchmark. Passes one after the other,
# not -count, so that what slows the machine down for a while does not hit all runs of one benchmark.
BENCH     ?= short
BENCH_OUT ?= $(CURDIR)/bench/results.out
passes.short := 1
passes.long  := 1 2 3
time.short   := 1s
time.long    := 2s

.PHONY: bench
bench: engine ## the driver's benchmarks and the workloads against its peers, summed up (BENCH=long, BENCH_FLAGS='-bench Contention')
	@$(if $(passes.$(BENCH)),,echo "BENCH is $(BENCH): use short or long" >&2; exit 1)
	@mkdir -p $(BENCH_OUT); rm -f $(BENCH_OUT)/{driver,contention-*}.txt
	set -o pipefail; go test -run '^$$' -bench . -benchmem $(BENCH_FLAGS) . | tee $(BENCH_OUT)/driver.txt
	@set -o pipefail; for n in $(passes.$(BENCH)); do \
		{ echo "go: $$(go env GOVERSION)"; echo "load: $$(uptime | sed 's/.*average[s]*: //')"; \
		cd $(CURDIR)/bench && go test -run '^$$' -bench . -benchtime $(time.$(BENCH)) -timeout 2h $(BENCH_FLAGS) ./...; } \
		| tee $(BENCH_OUT)/contention-$$n.txt || exit 1; done
	cd bench && go run ./statement | tee $(BENCH_OUT)/statement.txt && go run ./report --statement results/statement.txt $(BENCH_OUT)/statement.txt
	@if grep -q ^BenchmarkContention $(BENCH_OUT)/*.txt; then cd bench && go run ./report $(BENCH_OUT)/contention-*.txt && \
		../tools/bench-compare results/contention-*.txt -- $(BENCH_OUT)/contention-*.txt; fi

.PHONY: sweep
sweep: engine ## the retry policy's knobs over workloads that contend, a crowd on one row, two pools (SWEEP_TIME=5s)
	bench/sweep

.PHONY: scale
scale: engine ## a storm of 1,000 connections, and who waits for whose locks: the tables of bench/results/scale.md (SCALE_FLAGS='--turns 5')
	cd bench && go run ./scale $(SCALE_FLAGS)

.PHONY: lab
lab: ## the driver and its peers on a model of CockroachDB's concurrency control, in virtual time: the tables of docs/contention.md and bench/results/lab.md
	cd bench && LAB=.. go test -count=1 -timeout 20m -run '^TestLaboratory$$' -v . | grep -v '^=== '

.PHONY: curves
curves: ## what each value of the retry policy's knobs commits on the model of CockroachDB: bench/results/curves.md
	cd bench && ./curves results/curves.txt && \
		go run ./report --policy results/curves.md --curves results/curves.svg results/curves.txt

.PHONY: performance
performance: ## the tables and pictures of docs/performance.md and bench/results, from the output saved there
	cd bench && go run ./report --doc results/contention.md --summary ../docs/performance.md \
		--chart results/contention.svg results/contention-*.txt
	cd bench && go run ./report --policy results/policy.md --curves results/policy.svg results/policy.txt
	cd bench && go run ./report --policy results/curves.md --curves results/curves.svg results/curves.txt

# go test fuzzes one target at a time.
FUZZ_TIME ?= 30s

.PHONY: fuzz
fuzz: engine ## every fuzz target of every module in turn, each for FUZZ_TIME=30s (FUZZ_FLAGS='-parallel 1')
	@set -e; for m in $(TESTED); do cd $(CURDIR)/$$m; for p in $$(go list ./...); do \
		names=$$(go test -list '^Fuzz' $$p); \
		for f in $$(grep '^Fuzz' <<<"$$names"); do \
			echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ_TIME) $(FUZZ_FLAGS) $$p; \
		done; done; done

.PHONY: soak
soak: engine pgbouncer ## random programs under random faults against a model, and a load, for as long as told (SOAK_FLAGS='-for 10m -seed 2')
	cd reliability && go run ./soak $(SOAK_FLAGS)

.PHONY: rolling
rolling: engine ## node after node goes and comes back, under pgx and under this driver (ROLLING_FLAGS='-for 60s -mode drain|kill|silence -nodes 3 -workers 32')
	cd reliability && go run ./rolling $(ROLLING_FLAGS)

.PHONY: mutants
mutants: engine pgbouncer ## every bug of reliability/mutants, planted and looked for (MUTANT='savepoint' for those of that name)
	cd reliability && MUTANT='$(or $(MUTANT),.)' go test -count=1 -timeout=1h -run TestMutants -v ./mutants

.PHONY: monitoring
monitoring: engine prometheus ## the dashboard, rules and alerts, tested on a Prometheus that watches the demo, and their pictures
	cd monitoring && go run ./dashboard >dashboard.json.new && mv dashboard.json.new dashboard.json
	cd monitoring && CI=1 go test $(TEST_FLAGS) -count=1 ./...
	cd monitoring && go run ./pictures $(PICTURES_FLAGS)

.PHONY: cover
cover: engine ## which share of the driver its tests run, and a page that shows it
	go test -coverpkg=./... -coverprofile=coverage.out ./...
	@go tool cover -html=coverage.out -o coverage.html
	@go tool cover -func=coverage.out | tail -1; echo "see coverage.html"

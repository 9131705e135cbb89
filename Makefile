# The tasks of this project: `make help` lists them. cargo, go and the programs that they build do the work.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A debug build takes a third of the time of a release build, and the tests need it anyway. The Dockerfile builds in
# release what runs in a real cluster.
CLUSTER := cargo run --quiet --locked --bin privatekube-cluster --
# Debug builds would take hours for a whole sweep.
SIMULATOR := cargo run --quiet --release --locked -p privatekube-simulator --
# A crate's first page may link to its private modules: people who read the code read that page, too.
RUSTDOC_LINTS := -D warnings -A rustdoc::private_intra_doc_links
KUBECONFIG_FILE := $(CURDIR)/.local/kubeconfig

# Programs that are neither ours nor the toolchain's, in the versions of .ci/tools.txt.
TOOLS := .local/tools
TOOLS_READY := $(TOOLS)/ready
# Python with the libraries of the dashboards, in the versions of dashboards/requirements.txt.
DASHBOARDS := .local/dashboards
DASHBOARDS_READY := $(DASHBOARDS)/ready
DASHBOARDS_PYTHON := $(DASHBOARDS)/bin/python -B

# The environment in which the Python package is built, checked and tested, in the versions of client/requirements.
PYTHON := .local/python
PYTHON_READY := $(PYTHON)/ready

# The environments of examples/pipeline: of its steps, and of what makes a Kubeflow pipeline of them.
PIPELINE := .local/pipeline
PIPELINE_READY := $(PIPELINE)/ready
PIPELINE_IMAGE := privatekube.dev/pipeline:1
# Where the pods of make demo-pipeline run: real (containers of a real node) or fake (processes of this machine).
NODE ?= real

# A fuzz target is a libFuzzer program, built as cargo-fuzz builds it but for the address sanitizer, which needs a
# nightly compiler and finds nothing in code without `unsafe`. --target keeps the flags from build scripts.
FUZZ_HOST = $(shell rustc --print host-tuple)
FUZZ_FLAGS = --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
# Inputs that each fuzz target tries beside its seeds, and the seconds after which it stops all the same.
FUZZ_RUNS ?= 100000
FUZZ_SECONDS ?= 60
# How many worlds of the ledger make soak simulates, and how many of a whole cluster.
SEEDS ?= 1000000
CLUSTER_SEEDS ?= $(shell expr $(SEEDS) / 1000)
# How many parts of a cluster make soak-cluster kills, and what chooses them.
KILLS ?= 100
SEED ?= 31415926
# A scenario of privatekube-load and its options.
LOAD ?= claims --blocks 1,10,100

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build controlplane ## See PrivateKube at work: a cluster for a minute, which leaves nothing behind
	@$(CLUSTER) run --with-privatekube -- examples/demo
	@echo "The cluster is gone, and nothing is left of it."

.PHONY: up
up: build controlplane ## Start a cluster with PrivateKube that stays until make down
	@addresses=$$($(CLUSTER) up --with-privatekube --pods-end-after 10s --kubeconfig-out $(KUBECONFIG_FILE) \
		| awk '/^  status page/ {page = $$3} /^  metrics/ {metrics = $$2} END {print page, metrics}'); \
	echo "PrivateKube is up. See what it decides, and why, in a browser: $${addresses% *}"; \
	echo "Its metrics, for Prometheus (docs/monitoring.md): $${addresses#* }"
	@echo "In a shell:"
	@echo "  export KUBECONFIG=$(KUBECONFIG_FILE)"
	@echo "  export PATH=$(CURDIR)/.local/bin:$(CURDIR)/target/debug:\$$PATH"
	@echo "Then, for example:"
	@echo "  kubectl apply -f examples/quickstart"
	@echo "  kubectl get pb,pbc,pods -n data"
	@echo "  kubectl privacy top -n data"
	@echo "  privatekube-cluster restart extender"

.PHONY: down
down: ## End the cluster of make up, and forget what it stored
	@$(CLUSTER) down --remove
	@rm -f $(KUBECONFIG_FILE)

.PHONY: build
build: ## Build everything in Rust (debug)
	cargo build --workspace --locked

.PHONY: install-plugin
install-plugin: ## Install kubectl-privacy where cargo puts programs, so that kubectl finds it, and completes its words
	cargo install --locked --path cli

.PHONY: controlplane
controlplane: ## Build a real Kubernetes control plane from source into .local/bin
	cargo build --locked --bin privatekube-cluster
	@$(CLUSTER) build

.PHONY: prometheus
prometheus: ## Build Prometheus and promtool from source into .local/bin
	cargo build --locked --bin privatekube-cluster
	@$(CLUSTER) build prometheus

.PHONY: realnode
realnode: ## Build what a real node takes into .local/realnode: kubelet, containerd, runc, CNI plugins
	cargo build --locked --bin privatekube-cluster
	@$(CLUSTER) build real-node

.PHONY: monitoring
monitoring: build controlplane prometheus ## Test the rules, alerts, runbooks and dashboards with a real Prometheus
	cargo test --workspace --locked --test e2e -- monitoring

.PHONY: test
test: build controlplane prometheus ## Run every test, those in a real cluster included
	@$(CLUSTER) build real-node --if-possible
	cargo test --workspace --locked

.PHONY: soak
soak: ## Simulate the ledger in SEEDS worlds (1000000) and the extender in CLUSTER_SEEDS, and check the larger models
	PRIVATEKUBE_SEEDS=$(SEEDS) cargo test --release --locked -p privatekube-ledger --test ledger -- no_fault --nocapture
	cargo test --release --locked -p privatekube-ledger --test protocol -- --include-ignored --nocapture
	PRIVATEKUBE_SEEDS=$(CLUSTER_SEEDS) cargo test --release --locked -p privatekube-extender --lib -- \
		tests::world::no_fault --nocapture

.PHONY: soak-cluster
soak-cluster: build controlplane ## Kill KILLS parts (100) of a cluster whose requests go wrong, chosen by SEED, and audit it
	PRIVATEKUBE_SOAK_KILLS=$(KILLS) PRIVATEKUBE_E2E_SEED=$(SEED) \
		cargo test --workspace --locked --test e2e -- soak --nocapture

.PHONY: browser-test
browser-test: build controlplane ## Drive the status page in a headless Chromium: PICTURES=docs/images takes its pictures
	npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --loglevel=error
	@PICTURES=$(if $(PICTURES),$(abspath $(PICTURES))) $(CLUSTER) run --with-privatekube -- node tests/browser/test.js

.PHONY: demo-pipeline
demo-pipeline: build controlplane $(if $(filter real,$(NODE)),realnode) wheel $(PIPELINE_READY) ## Run examples/pipeline in containers (NODE=fake: as processes)
	@$(PYTHON)/bin/uv pip install --quiet --python $(PIPELINE)/steps --no-deps --reinstall target/wheels/privatekube-*.whl
	@$(PIPELINE)/kubeflow/bin/python -B examples/pipeline/kubeflow.py $(PIPELINE)/kubeflow.yaml
ifeq ($(NODE),real)
	@$(CLUSTER) python-image --name $(PIPELINE_IMAGE) --requirements examples/pipeline/requirements.txt \
		--wheel target/wheels/privatekube-*.whl
	@$(CLUSTER) run --node real --image $(PIPELINE_IMAGE) --with-privatekube -- examples/pipeline/demo $(PIPELINE) python3
else
	@$(CLUSTER) run --with-privatekube -- examples/pipeline/demo $(PIPELINE) $(CURDIR)/$(PIPELINE)/steps/bin/python
endif

.PHONY: wheel
wheel: $(PYTHON_READY)
	@rm -rf target/wheels
	$(PYTHON)/bin/maturin build --quiet --release --locked --manifest-path client/Cargo.toml --out target/wheels

.PHONY: python
python: wheel build controlplane ## Build, check and test the Python package, on every Python from 3.10 on that is there
	@client/check $(PYTHON) target/wheels/privatekube-*.whl
	@cd client && ../$(PYTHON)/bin/python -m pytest --quiet -m "not cluster" --doctest-modules \
		--doctest-glob '*.md' --pyargs privatekube tests ../docs/python.md
	@$(CLUSTER) run --with-privatekube -- $(PYTHON)/bin/python -m pytest --quiet -c client/pyproject.toml --rootdir client \
		-m cluster client/tests

.PHONY: python-lock
python-lock: $(PYTHON_READY) ## Write the locked versions of what the Python package and examples/pipeline need
	@cd client/requirements; for lock in bootstrap:3.11 test:3.10 develop:3.11 alone:3.11; do \
		name=$${lock%:*}; \
		../../$(PYTHON)/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
			$$([[ $$name != alone ]] || echo --no-deps) --python-version $${lock#*:} $$name.in -o $$name.txt; \
	done
	@cd examples/pipeline; for name in requirements kubeflow-requirements; do \
		../../$(PYTHON)/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
			--python-version 3.11 $$name.in -o $$name.txt; \
	done

.PHONY: evaluation
evaluation: ## Make all runs of the papers' experiments, and their tables and figures in docs/evaluation
	@# Every run is made anew: what is there may come from another version.
	@rm -rf docs/evaluation/journal.jsonl docs/evaluation/figures
	$(SIMULATOR) sweep all --out docs/evaluation
	$(SIMULATOR) plot docs/evaluation --whole
	@rm docs/evaluation/journal.jsonl

.PHONY: lint
lint: $(TOOLS_READY) $(DASHBOARDS_READY) ## Check formatting, lints and the documentation of the code
	$(TOOLS)/bin/ruff format --no-cache --check dashboards examples/pipeline
	$(TOOLS)/bin/ruff check --no-cache dashboards examples/pipeline
	$(TOOLS)/bin/ty check --quiet --error-on-warning --python $(DASHBOARDS) dashboards
	cargo fmt --all -- --check
	cargo fmt --manifest-path policy/fuzz/Cargo.toml -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="$(RUSTDOC_LINTS)" cargo doc --workspace --no-deps --locked

.PHONY: deny
deny: $(TOOLS_READY) ## Check the licences, sources, bans and duplicate versions of dependencies
	$(TOOLS)/bin/cargo-deny --locked check -D warnings licenses bans sources

.PHONY: typos
typos: $(TOOLS_READY) ## Check the spelling of code and pages
	$(TOOLS)/bin/typos

.PHONY: markdown
markdown: $(TOOLS_READY) ## Check the links, anchors and length of lines of all Markdown
	$(TOOLS)/bin/rumdl check --no-cache .

.PHONY: bench-smoke
bench-smoke: controlplane ## Run every benchmark once at its smallest, without measuring
	cargo test --workspace --locked --bench '*'
	cargo build --locked --bin privatekube-cluster --bin privatekube-extender --bin privatekube-load
	target/debug/privatekube-load claims --count 20 --rounds 1 --nodes 3
	target/debug/privatekube-load pods --kind mixed --count 20 --rounds 1 --nodes 3

.PHONY: load
load: controlplane ## Measure PrivateKube on a real control plane: LOAD="pods --kind plain" (claims --blocks 1,10,100)
	cargo build --release --locked -p privatekube-cluster -p privatekube-extender -p privatekube-load
	target/release/privatekube-load $(LOAD)

.PHONY: fuzz
fuzz: ## Fuzz every parser: its seeds, then FUZZ_RUNS inputs (100000) in at most FUZZ_SECONDS (60)
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --release --locked --manifest-path policy/fuzz/Cargo.toml \
		--target $(FUZZ_HOST) --target-dir target/fuzz
	@cd policy/fuzz; for file in fuzz_targets/*.rs; do \
		name=$$(basename $$file .rs); \
		program=../../target/fuzz/$(FUZZ_HOST)/release/$$name; \
		echo "$$name: seeds"; \
		$$program -verbosity=0 seeds/$$name/*; \
		echo "$$name: $(FUZZ_RUNS) inputs"; \
		mkdir -p corpus/$$name artifacts/$$name; \
		$$program -verbosity=0 -print_final_stats=1 -timeout=10 -artifact_prefix=artifacts/$$name/ \
			-runs=$(FUZZ_RUNS) -max_total_time=$(FUZZ_SECONDS) corpus/$$name seeds/$$name 2>&1 \
			| sed '/Recommended dictionary/,/End of recommended/d'; \
	done

$(TOOLS_READY): .ci/tools.txt
	@rm -rf $(TOOLS)
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r .ci/tools.txt
	@touch $@

$(DASHBOARDS_READY): dashboards/requirements.txt
	@rm -rf $(DASHBOARDS)
	python3 -m venv $(DASHBOARDS)
	$(DASHBOARDS)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r dashboards/requirements.txt
	@touch $@

$(PYTHON_READY): $(wildcard client/requirements/*.txt)
	@rm -rf $(PYTHON)
	@python3 -c 'import sys; assert sys.version_info >= (3, 11), "make python needs Python 3.11 or newer as python3"'
	python3 -m venv $(PYTHON)
	$(PYTHON)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r client/requirements/bootstrap.txt
	@# uv installs the same locked wheels as pip, in a third of the time.
	$(PYTHON)/bin/uv pip install --quiet --python $(PYTHON) --require-hashes --only-binary :all: -r client/requirements/develop.txt
	$(PYTHON)/bin/uv pip install --quiet --python $(PYTHON) --require-hashes --only-binary :all: --no-deps \
		-r client/requirements/alone.txt
	@touch $@

$(PIPELINE_READY): $(PYTHON_READY) examples/pipeline/requirements.txt examples/pipeline/kubeflow-requirements.txt
	@rm -rf $(PIPELINE)
	@$(PYTHON)/bin/uv venv --quiet --python $(PYTHON)/bin/python $(PIPELINE)/steps
	@$(PYTHON)/bin/uv venv --quiet --python $(PYTHON)/bin/python $(PIPELINE)/kubeflow
	$(PYTHON)/bin/uv pip install --quiet --python $(PIPELINE)/steps --require-hashes -r examples/pipeline/requirements.txt
	$(PYTHON)/bin/uv pip install --quiet --python $(PIPELINE)/kubeflow --require-hashes \
		-r examples/pipeline/kubeflow-requirements.txt
	@touch $@

.PHONY: drift
drift: $(DASHBOARDS_READY) ## Check that what is generated or locked is up to date
	$(DASHBOARDS_PYTHON) dashboards/test_dashboards.py
	cargo metadata --locked --format-version 1 >/dev/null
	cargo run --quiet --locked --bin crdgen -- --check
	cargo run --quiet --locked --example metrics_page -- --check
	monitoring/rules/wrap | diff monitoring/rules/prometheusrule.yaml -
	@for module in controlplane prometheus realnode/kubelet realnode/containerd; do \
		(cd tests/$$module && go mod tidy -diff && go mod verify) || exit; \
	done

.PHONY: generate
generate: $(DASHBOARDS_READY) ## Write what is generated: resource definitions, the page of the metrics, rules, dashboards
	cargo run --quiet --locked --bin crdgen
	cargo run --quiet --locked --example metrics_page
	$(DASHBOARDS_PYTHON) dashboards/generate.py
	monitoring/rules/wrap > monitoring/rules/prometheusrule.yaml

.PHONY: ci
ci: ## Everything that must pass before a change goes in
	.ci/run

.PHONY: clean
clean: ## Remove what was built, the tools, and the cluster of make up
	@if [ -d .local/cluster ]; then $(CLUSTER) down --remove; fi
	cargo clean
	rm -rf .local

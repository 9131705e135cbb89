# The tasks of this project, each in a line: `make help`. The work itself is done by cargo, by go, and by the programs
# that they build.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One profile for everything: a debug build is there after a third of the time of a release build, and the tests need
# it anyway. What goes into a cluster is built by the Dockerfile, in release.
CLUSTER := cargo run --quiet --locked -p privatekube-cluster --
# But for what is about how fast it is.
SIMULATOR := cargo run --quiet --release --locked -p privatekube-simulator --
# A crate's first page may point to its private modules: it is there for those who read the code, too.
RUSTDOC_LINTS := -D warnings -A rustdoc::private_intra_doc_links
KUBECONFIG_FILE := $(CURDIR)/.local/kubeconfig

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build controlplane ## See PrivateKube at work: a cluster for a minute, which leaves nothing behind
	@$(CLUSTER) run --with-privatekube -- examples/demo
	@echo "The cluster is gone, and nothing is left of it."

.PHONY: up
up: build controlplane ## Start a cluster with PrivateKube that stays until make down
	@$(CLUSTER) up --with-privatekube --kubeconfig-out $(KUBECONFIG_FILE) >/dev/null
	@echo "PrivateKube is up. In a shell:"
	@echo "  export KUBECONFIG=$(KUBECONFIG_FILE)"
	@echo "  export PATH=$(CURDIR)/.local/bin:\$$PATH"
	@echo "Then, for example:"
	@echo "  kubectl apply -f examples/quickstart"
	@echo "  kubectl get pb,pbc,pods -n data"

.PHONY: down
down: ## End the cluster of make up, and forget what it stored
	@$(CLUSTER) down --remove
	@rm -f $(KUBECONFIG_FILE)

.PHONY: build
build: ## Build everything in Rust (debug)
	cargo build --workspace --locked

.PHONY: controlplane
controlplane: ## Build a real Kubernetes control plane from source into .local/bin
	cargo build --locked -p privatekube-cluster
	@$(CLUSTER) build

.PHONY: test
test: build controlplane ## Run every test, those in a real cluster included
	cargo test --workspace --locked

.PHONY: evaluation
evaluation: ## Make all runs of the papers' experiments, and their tables and figures in docs/evaluation
	@# What is there is of another version, perhaps: every run is made anew.
	@rm -rf docs/evaluation/journal.jsonl docs/evaluation/figures
	$(SIMULATOR) sweep all --out docs/evaluation
	$(SIMULATOR) plot docs/evaluation --whole
	@rm docs/evaluation/journal.jsonl

.PHONY: lint
lint: ## Check formatting, lints and the documentation of the code
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="$(RUSTDOC_LINTS)" cargo doc --workspace --no-deps --locked

.PHONY: drift
drift: ## Check that what is generated or locked is up to date
	cargo metadata --locked --format-version 1 >/dev/null
	cargo run --quiet --locked -p privatekube-api --bin crdgen -- --check
	cd tests/controlplane && go mod tidy -diff && go mod verify

.PHONY: generate
generate: ## Write what is generated: the custom resource definitions
	cargo run --quiet --locked -p privatekube-api --bin crdgen

.PHONY: ci
ci: ## All that must pass before a change goes in
	.ci/run

.PHONY: clean
clean: ## Remove what was built, and the cluster of make up
	@if [ -d .local/cluster ]; then $(CLUSTER) down --remove; fi
	cargo clean
	rm -rf .local

# What people and CI run. `make` alone lists the targets; the text after ## is the help.
# Every target works from a clean clone with Rust and a C compiler: what else it needs, it looks for and installs.

# The linter and formatter of the contract in proto/. Pinned, so that an upgrade is a commit of its own.
BUF_VERSION := 1.75.0
BUF_HOME := target/tools/buf-$(BUF_VERSION)
BUF := $(BUF_HOME)/node_modules/.bin/buf

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help test lint fmt run model mutants fuzz soak twins hostile bench instructions clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One target directory and one profile for all three, so that nothing is compiled twice for a flag's sake.
test: ## Format check, clippy, all tests (installs PostgreSQL's server if there is none)
	scripts/ensure-postgres.sh
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo test

model: ## Explore the larger setups of the protocol's model (half an hour, some gigabytes)
	cargo run -p coherence --release --example large

lint: $(BUF) ## Lint the contract in proto/ and its format; licences, sources and known faults of what we build on (installs buf and cargo-deny into target/)
	$(BUF) lint
	$(BUF) format --diff --exit-code
	scripts/deny.sh

fmt: $(BUF) ## Format the Rust code and the contract
	cargo fmt --all
	$(BUF) format --write

mutants: ## Change the domain in small ways, and list what no test notices: hours (installs cargo-mutants into target/)
	scripts/mutants.sh

SECONDS_EACH ?= 60
fuzz: ## Fuzz each target for SECONDS_EACH=60; `make test` replays the corpora (needs a C++ compiler)
	SECONDS_EACH=$(SECONDS_EACH) scripts/fuzz.sh

run: ## Serve the example on the embedded database
	cargo run --release -- serve --example

MINUTES ?= 10
soak: ## Hold the promise under faults for MINUTES=10 (CONSENTGATE_FAULTS_SEED repeats a run)
	scripts/ensure-postgres.sh
	CONSENTGATE_FAULTS_SECONDS=$$(( $(MINUTES) * 60 )) cargo test --test it faults::nobody -- --nocapture

twins: ## See the fault tests fail without each step that they are for (compiles the crate once more)
	scripts/ensure-postgres.sh
	cargo test --features weakened --test it faults::twins -- --nocapture --test-threads 1

hostile: ## Send ten times as much as `make test` does to harm the service (a million calls, 10,000 connections)
	CONSENTGATE_HOSTILE=1 cargo test --test it hostile:: -- --nocapture --test-threads 1

PEOPLE ?= 1000000
PARTS ?=
bench: ## Measure the service beside what it is compared with and write BENCHMARKS.md: leave the machine alone meanwhile (a quarter of an hour; PARTS="warm cold" for some)
	scripts/ensure-postgres.sh
	scripts/ensure-bench.sh
	cargo build --release
	target/release/consentgate-bench run --gate target/release/consentgate --people $(PEOPLE) --rounds 3 --seconds 2 $(PARTS)

instructions: ## Count the instructions of a check and a record, and add a line to bench/instructions.csv
	scripts/ensure-bench.sh
	cargo build --release
	target/release/consentgate-bench instructions

clean: ## Remove everything that was built or installed into target/
	rm -rf target

# The npm package carries the buf binary, so npm is all that is needed.
$(BUF):
	@if ! command -v npm >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends npm; \
	  else \
	    echo "make lint needs npm: install Node.js with npm (Debian: apt-get install npm, macOS: brew install node)" >&2; \
	    exit 1; \
	  fi; \
	fi
	npm install --prefix $(BUF_HOME) --no-save --no-audit --no-fund --loglevel=error @bufbuild/buf@$(BUF_VERSION)

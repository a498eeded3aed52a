# Everything that can be done here. `make demo` and `make test` create what they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
MINUTES ?= 10
VENV := .venv
CLIENTS := tests/clients
PYTHON_CLIENTS := $(VENV)/.installed
NODE_CLIENTS := $(CLIENTS)/node_modules/.package-lock.json
OLDER_CLIENTS := .clients/.installed
DASHBOARD := tests/dashboard
BROWSER := $(DASHBOARD)/node_modules/.package-lock.json
MATRIX := $(CLIENTS)/matrix

.PHONY: help demo check msrv test test-servers servers soak lint deny bench bench-instructions clients docs image setup redis older-redis package first-hour

help:
	@echo 'make demo    six stories, straight to Redis and through respguard (STAY=1 leaves it running);'
	@echo '             CLUSTER=1 plays groups on a cluster during a failover'
	@echo 'make test    unit, property, architecture, integration and real-client tests'
	@echo 'make test-servers  the integration tests on each server of scripts/install-servers, beside tests/servers/NAME.txt;'
	@echo '             SERVER=valkey9 runs on one, TESTS="groups:: ttl::" only what those filters name'
	@echo 'make soak    random sessions beside Redis, simulations and fuzz targets, each kind for MINUTES=10, then make test-servers;'
	@echo '             SEED=n replays one; SEEDS=10000 FROM=4000 plays so many simulations from that seed on, and nothing else'
	@echo 'make check   the quick one: formatting, clippy, unit tests; make msrv: with the oldest compiler that is promised'
	@echo 'make lint    formatting, clippy and the documentation, warnings are errors'
	@echo 'make deny    licences, known faults and sources of the dependencies, as deny.toml says (cargo-deny)'
	@echo 'make bench   what respguard costs beside Redis alone and beside other proxies; writes docs/performance/ (minutes);'
	@echo '             PEERS=install installs the proxies that Debian has; ROUNDS=1 SECONDS=0.2 only tries it, in target/bench'
	@echo 'make bench-instructions  instructions per command under valgrind; fails beyond 3 % above those written down'
	@echo 'make clients  many versions of clients in all their styles; writes docs/clients.md (minutes)'
	@echo 'make servers  runs test-servers and writes docs/servers.md from it (a quarter of an hour)'
	@echo 'make image   builds the container image with buildah, without Docker and a registry, runs it and stops it (minutes; wants root)'
	@echo 'make package  a static program in an archive, a Debian package, a bill of materials, digests; in target/package (minutes)'
	@echo 'make first-hour  from that package to a first rule in force, in a Debian of its own (wants root and mmdebstrap)'
	@echo 'make docs    writes the references of the configuration and of the metrics from the program'
	@echo 'make setup   only what the tests need: redis-server, Redis 6.2, .venv, packages of Node.js'

demo: redis
	$(PYTHON) demo/$(if $(CLUSTER),cluster,demo).py

# Tests wait for most of their time, for deadlines and for servers that fail: two for each core.
TEST_THREADS ?= $(shell echo $$(( 2 * $$(nproc) )))

test: setup
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --locked --workspace --no-fail-fast

# A server that is asked for and cannot be had is a failure.
SERVER ?=
TESTS ?=

test-servers:
	scripts/test-servers $(SERVER) $(if $(TESTS),--only $(TESTS))

servers:
	scripts/test-servers --write

FUZZ_ROUNDS ?= 1000000
SEEDS ?=
FROM ?=

# With SEEDS it is the simulations alone: so many of them, whatever time that takes.
ifneq ($(SEEDS),)
soak:
	SEEDS=$(SEEDS) FROM=$(FROM) CARGO_PROFILE_TEST_OPT_LEVEL=1 cargo test --locked --test simulation -- seed_replies nodes_whose primary_that --nocapture --test-threads 1
else
soak: redis
	SOAK_SECONDS=$$(( $(MINUTES) * 60 )) cargo test --locked --test it -- at_random --nocapture
	SOAK_SECONDS=$$(( $(MINUTES) * 60 )) cargo test --locked --test simulation -- --nocapture
	FUZZ_ROUNDS=$(FUZZ_ROUNDS) cargo test --locked --test fuzzing -- --nocapture
	$(MAKE) test-servers
endif

# The quick answer while working; `make lint` and `make test` are the whole.
check:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace --lib

MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

msrv:
	rustup toolchain install $(MSRV) --profile minimal --no-self-update
	cargo +$(MSRV) check --locked --workspace --all-targets

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

deny:
	cargo deny --locked --workspace --all-features check

ROUNDS ?= 7
SECONDS ?= 1
PEERS ?=
SECTIONS ?=

bench: redis
	scripts/bench --rounds $(ROUNDS) --seconds $(SECONDS) $(if $(filter install,$(PEERS)),--install) $(SECTIONS)

bench-instructions:
	cargo bench --locked --package respguard-engine --bench instructions

clients: redis
	scripts/measure-clients --write

image: redis
	scripts/try-image --install

package:
	scripts/package

first-hour:
	scripts/try-first-hour

docs:
	UPDATE_DOCS=1 cargo test --locked --test configuration --test shipped reference

setup: redis older-redis $(PYTHON_CLIENTS) $(NODE_CLIENTS) $(OLDER_CLIENTS) $(BROWSER)

redis:
	@scripts/install-redis

# Some tests are about a server that is upgraded in place, from Redis 6.2, and about slots that Valkey 9 moves.
older-redis:
	@scripts/install-servers redis6 valkey9

$(PYTHON_CLIENTS): $(CLIENTS)/requirements.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'make: $(PYTHON) cannot create a virtual environment; on Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	@touch $@

$(NODE_CLIENTS): $(CLIENTS)/package.json $(CLIENTS)/package-lock.json
	@command -v npm >/dev/null || { echo 'make: npm is missing; on Debian: apt-get install nodejs npm' >&2; exit 1; }
	cd $(CLIENTS) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(BROWSER): $(DASHBOARD)/package.json $(DASHBOARD)/package-lock.json
	@command -v npm >/dev/null || { echo 'make: npm is missing; on Debian: apt-get install nodejs npm' >&2; exit 1; }
	cd $(DASHBOARD) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(OLDER_CLIENTS): $(MATRIX)/clients.py $(MATRIX)/package-lock.json $(PYTHON_CLIENTS) $(NODE_CLIENTS)
	scripts/measure-clients --prepare --only redis-py node-redis
	@touch $@

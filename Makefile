# Two commands on a fresh Debian with a Rust toolchain: make drill, make test.
ARGS ?=
# Where rustup puts cargo, for a shell that was not told.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: help setup drill test images bench lint clean

help:
	@echo 'make drill    drill the DeltaCrown backups on local services (REDRILL_SERVICES=containers|auto for others; ARGS=...)'
	@echo 'make test     every test, with real services: one that cannot be had is a failure'
	@echo 'make images   build the service images from Debian packages, for containers without a registry'
	@echo 'make bench    restore and fingerprint throughput, in GB/min, built as drills and tests are'
	@echo 'make lint     formatting and lints'
	@echo 'make setup    install what is missing from Debian packages (drill, test and bench do it themselves)'
	@echo 'make clean    remove what was built; reports stay'

setup:
	@.ci/setup

drill: setup
	@cargo build
	@cargo run --quiet -- drill deltacrown $(if $(REDRILL_SERVICES),,--services local) $(ARGS)

test:
	@.ci/setup --tests
	PATH="$(abspath $(or $(CARGO_TARGET_DIR),target))/validators/bin:$$PATH" \
	REDRILL_REQUIRE_SERVICES=1 REDRILL_SERVICES=$(or $(REDRILL_SERVICES),local) cargo test $(ARGS)

images:
	@.ci/setup --images
	@fixtures/images/build $(ARGS)

bench:
	@.ci/setup --tests
	cargo bench --profile dev $(ARGS)

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

clean:
	cargo clean

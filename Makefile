# Builds, demonstrates, tests and installs mod_slot and slotctl. `make help` lists the targets.

CARGO ?= cargo
# APXS: the apxs of the Apache to build for. HTTPD: the program for the tests, unless apxs finds it.
APXS ?= $(or $(notdir $(firstword $(shell command -v apxs apxs2))),apxs)
export APXS HTTPD
INSTALL ?= install

# Where files are installed. Packages use `make install DESTDIR=/tmp/stage prefix=/usr`.
prefix ?= /usr/local
bindir ?= $(prefix)/bin
docdir ?= $(prefix)/share/doc/mod_slot
progname = $(shell $(APXS) -q PROGNAME 2>/dev/null)
libexecdir = $(shell $(APXS) -q LIBEXECDIR 2>/dev/null)
includedir = $(shell $(APXS) -q INCLUDEDIR 2>/dev/null)
sysconfdir = $(shell $(APXS) -q SYSCONFDIR 2>/dev/null)
statedir ?= /var/lib/$(if $(filter apache2,$(progname)),apache2/slots,mod_slot)

target := $(or $(CARGO_TARGET_DIR),$(CARGO_BUILD_TARGET_DIR),target)
module := $(target)/release/libmod_slot.so
slotctl := $(target)/release/slotctl
documents := README.md CHANGELOG.md LICENSE apache/manual.md apache/example-vhost.conf apache/mod_slot.xml
guides := $(wildcard apache/guides/*.md)

# The Rust that mod_slot needs, from Cargo.toml.
rust := $(shell sed -n 's/^rust-version = "\([0-9.]*\)"$$/\1/p' $(dir $(firstword $(MAKEFILE_LIST)))Cargo.toml)

all: check-build ## Build the module and slotctl, optimised, into target/release
	$(CARGO) build --release --bin slotctl
	@# Last, because the build above leaves a libmod_slot.so without link-time optimisation.
	$(CARGO) rustc --release --lib --crate-type cdylib

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: check-build ## Flip, deploy and hold under load in a private Apache, without installing anything
	@$(CARGO) build --lib --bin slotctl --example demo
	@$(target)/debug/examples/demo

test: check-test ## Run all tests: the core alone, everything with a real Apache, and the model
	@# As for `cargo install`: without Apache and libclang.
	APXS=none LIBCLANG_PATH=none $(CARGO) test --no-default-features --features man --lib --bins
	$(CARGO) test --workspace
	@# All tests of hold once more, with parked connections.
	MOD_SLOT_PARK=1 $(CARGO) test --test apache -- hold:: --skip hold::parked::
	@$(MAKE) --no-print-directory model

# Left out on prefork: tests of a child with several requests, or of a child that Apache must not replace.
not_prefork = --skip state::children_of_an_older --skip state::cut::truncating_the_counts_kills

test-all: test ## Run all tests, then Apache's tests again on worker and prefork, and the long forms
	MOD_SLOT_MPM=worker $(CARGO) test --test apache
	MOD_SLOT_MPM=prefork $(CARGO) test --test apache -- $(not_prefork)
	@$(MAKE) --no-print-directory soak

# The tests that have a long form.
long = soak truth kill:: faults:: restarts:: fuzz:: power:: tomcat::restart:: aftermath::

soak: check-test ## Run the long forms of tests; SOAK_FLIPS=500 makes fewer flips
	MOD_SLOT_SOAK=1 $(CARGO) test --profile soak --test '*' -- $(long) --nocapture --test-threads=1

test-bare: ## Run demo and test on bare Debian 12 and 13 (root, debootstrap); CASES="trixie" chooses
	.ci/bare $(CASES)

test-packages: ## Build, install, upgrade and purge the package on Debian 12 and 13 (root); RELEASES="trixie" chooses
	.ci/packages $(RELEASES)

model: check-rust ## Check enter, flip and drain under loom, in each possible order of their steps
	RUSTFLAGS="--cfg loom" $(CARGO) test --release --no-default-features --lib --target-dir $(target)/model model::

sanitize: check-test ## Run tests under AddressSanitizer, and the library's under ThreadSanitizer too
	CARGO="$(CARGO)" TARGET=$(target) .ci/sanitize

man: generate ## Write man pages to target/man, and completions for bash, zsh and fish to target/completions

manual: generate ## Write the manual, the guides and the directives as HTML to target/manual

generate: check-build
	$(CARGO) run -q --features man --bin slotctl -- generate $(target)

lint: check-lint ## Check format, clippy and rustdoc, with and without the Apache module
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets --features man -- -D warnings
	$(CARGO) clippy --no-default-features --lib --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib --no-default-features

# APPS sets the numbers of applications, ROWS the rows; TSV=1 prints output for programs.
APPS ?= 1 100 1000
instructions: check-build check-valgrind ## Count the instructions of a request, with slot:// and with its rivals
	@$(CARGO) build --example instructions
	@$(CARGO) rustc --release --lib --crate-type cdylib
	@MOD_SLOT=$(module) $(target)/debug/examples/instructions $(APPS) $(ROWS) $(if $(TSV),--tsv)

# `make bench CHAPTERS="lease flip"` measures only these; `make bench QUICK=1` checks that everything runs.
bench: check-build check-bench ## Measure mod_slot and its rivals, and write benches/RESULTS.md
	$(CARGO) build --release --bin slotctl
	$(CARGO) rustc --release --lib --crate-type cdylib
	$(CARGO) build --example instructions
	$(if $(filter lease,$(or $(CHAPTERS),lease)),$(CARGO) bench --bench lease -- $(if $(QUICK),--quick))
	MOD_SLOT=$(abspath $(module)) SLOTCTL=$(abspath $(slotctl)) \
		INSTRUCTIONS=$(abspath $(target)/debug/examples/instructions) $(CARGO) bench --bench compare -- $(CHAPTERS)

installing = APXS="$(APXS)" INSTALL="$(INSTALL)" DESTDIR="$(DESTDIR)" bindir="$(bindir)" docdir="$(docdir)" \
	libexecdir="$(libexecdir)" includedir="$(includedir)" sysconfdir="$(sysconfdir)" statedir="$(statedir)" progname="$(progname)" \
	module="$(module)" slotctl="$(slotctl)" documents="$(documents)" guides="$(guides)" .ci/install

install: ## Install what `make` built; respects DESTDIR, prefix, bindir, libexecdir, includedir and statedir
	@$(installing) install

uninstall: ## Remove the installed files, except edited files and the recorded state
	@$(installing) uninstall

deb: check-deb ## Build the Debian package for this release and its Apache into target/deb
	@CARGO="$(CARGO)" packaging/deb

rpm: ## Build an RPM of the last commit into target/rpm, untested on Red Hat; RPMBUILD sets options of rpmbuild
	@CARGO="$(CARGO)" packaging/rpm/build $(RPMBUILD)

clean: ## Remove what was built
	@CARGO=$(firstword $(CARGO)) .ci/provide --say $(rust)
	$(CARGO) clean

# Installs the missing packages for a task and Rust, or prints what to install and fails.
needs = CARGO="$(CARGO)" .ci/deps $(rust)

deps: ## Install what build and tests need; without root or apt-get, print what is missing
	@$(needs) all
	@echo "Everything that mod_slot's build and tests need is installed."

check-rust check-build check-test check-valgrind check-bench check-deb: check-%:
	@$(needs) $*

check-lint: check-build
	@$(needs) lint

.PHONY: all help demo man manual generate test test-all test-bare test-packages soak model sanitize lint instructions bench
.PHONY: install uninstall clean deps deb rpm check-rust check-build check-test check-lint check-valgrind check-bench check-deb

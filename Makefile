# Builds, shows, tests and installs mod_slot and slotctl. `make help` lists what there is.

CARGO ?= cargo
# Apache's own build tool says where Apache keeps its things: one of another Apache is named by APXS. HTTPD names the
# program for the tests, where it is not that of APXS.
APXS ?= $(or $(notdir $(firstword $(shell command -v apxs apxs2))),apxs)
export APXS HTTPD
INSTALL ?= install

# Where things go. `make install DESTDIR=/tmp/stage prefix=/usr` is for packages.
prefix ?= /usr/local
bindir ?= $(prefix)/bin
docdir ?= $(prefix)/share/doc/mod_slot
progname = $(shell $(APXS) -q PROGNAME 2>/dev/null)
libexecdir = $(shell $(APXS) -q LIBEXECDIR 2>/dev/null)
sysconfdir = $(shell $(APXS) -q SYSCONFDIR 2>/dev/null)
statedir ?= /var/lib/$(if $(filter apache2,$(progname)),apache2/slots,mod_slot)

target := $(or $(CARGO_TARGET_DIR),$(CARGO_BUILD_TARGET_DIR),target)
module := $(target)/release/libmod_slot.so
slotctl := $(target)/release/slotctl
# The sanitizers are the compiler's, for this machine's own target. Its std is built without them: what they
# would then tell of the test harness is left out by a list.
host = $(shell rustc -vV | sed -n 's/^host: //p')
sanitized = RUSTC_BOOTSTRAP=1 $(CARGO) test --no-default-features --lib --target $(host) --target-dir $(target)/sanitize
documents := README.md CHANGELOG.md LICENSE apache/manual.md apache/example-vhost.conf apache/mod_slot.xml

# The Rust that mod_slot needs, as Cargo.toml states it.
rust := $(shell sed -n 's/^rust-version = "\([0-9.]*\)"$$/\1/p' $(dir $(firstword $(MAKEFILE_LIST)))Cargo.toml)

all: check-build ## Build the module and slotctl, optimised, into target/release
	$(CARGO) build --release --bin slotctl
	@# Last, for the build above leaves a libmod_slot.so without link-time optimisation.
	$(CARGO) rustc --release --lib --crate-type cdylib

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: check-build ## Flip ten times under load, in a private Apache; nothing is installed
	@$(CARGO) build --lib --bin slotctl --example demo
	@$(target)/debug/apache/demo

test: check-test ## Run all tests: the core alone, everything with a real Apache, the model
	$(CARGO) test --no-default-features --lib --bins
	$(CARGO) test --workspace
	@$(MAKE) --no-print-directory model

# On prefork, but for tests of children that have several requests, or that Apache replaces as soon as one dies.
not_prefork = --skip state::children_of_an_older --skip state::cut::truncating_the_counts_kills

test-all: test ## Run all tests, those with an Apache again on worker and prefork, and the long forms
	MOD_SLOT_MPM=worker $(CARGO) test --test apache
	MOD_SLOT_MPM=prefork $(CARGO) test --test apache -- $(not_prefork)
	@$(MAKE) --no-print-directory soak

# The tests that have a long form.
long = soak truth kill:: faults:: restarts:: fuzz:: power::

soak: check-test ## Run the long forms of the tests that have one; SOAK_FLIPS=500 makes fewer flips
	MOD_SLOT_SOAK=1 $(CARGO) test --profile soak --test '*' -- $(long) --nocapture --test-threads=1

test-bare: ## Run demo and test on a bare Debian 12 and 13, in roots of their own (root, debootstrap); CASES="trixie" chooses
	.ci/bare $(CASES)

model: check-rust ## Check the protocol of enter, flip and drain under loom, in every order of its steps
	RUSTFLAGS="--cfg loom" $(CARGO) test --release --no-default-features --lib --target-dir $(target)/model model::

sanitize: check-test ## Run the library's tests under AddressSanitizer and ThreadSanitizer, Apache's under the first
	RUSTFLAGS="-Zsanitizer=address" $(sanitized)/address
	RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" \
		TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp" $(sanitized)/thread
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" $(CARGO) build --lib --target $(host) --target-dir $(target)/sanitize/address
	@# Without a test that counts memory, of which the sanitizer takes some for itself, and one whose load finds all
	@# threads of so slow a child busy: Apache then closes connections that are kept.
	reports=$$(mktemp -d) && chmod 1777 $$reports && { MOD_SLOT_REPORTS=$$reports HTTPD=$(CURDIR)/tests/asan-httpd \
		MOD_SLOT=$(abspath $(target)/sanitize/address/$(host)/debug/libmod_slot.so) \
		$(CARGO) test --test apache -- --skip restarts_leave_nothing_behind --skip nothing_is_lost_or_stale_on_event; \
		failed=$$?; ! grep -r . $$reports || failed=1; rm -r $$reports; exit $$failed; }

lint: check-lint ## Check the format, clippy and rustdoc, with and without the Apache side
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features --lib --bins -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib --no-default-features

# How many applications are configured; `TSV=1` is for programs, `ROWS=` chooses among the rows.
APPS ?= 1 100 1000
instructions: check-build check-valgrind ## Count the instructions of a request, slot:// and its rivals
	@$(CARGO) build --example instructions
	@$(CARGO) rustc --release --lib --crate-type cdylib
	@MOD_SLOT=$(module) $(target)/debug/benches/instructions $(APPS) $(ROWS) $(if $(TSV),--tsv)

# `make bench CHAPTERS="lease flip"` measures these; `make bench QUICK=1` sees whether all runs.
bench: check-build check-bench ## Measure all, beside all rivals, and write benches/RESULTS.md
	$(CARGO) build --release --bin slotctl
	$(CARGO) rustc --release --lib --crate-type cdylib
	$(CARGO) build --example instructions
	$(if $(filter lease,$(or $(CHAPTERS),lease)),$(CARGO) bench --bench lease -- $(if $(QUICK),--quick))
	MOD_SLOT=$(abspath $(module)) SLOTCTL=$(abspath $(slotctl)) \
		INSTRUCTIONS=$(abspath $(target)/debug/benches/instructions) $(CARGO) bench --bench compare -- $(CHAPTERS)

# Stops before anything is touched: an apxs that answers nothing would have the module installed into the root.
define apxs_answers
@$(foreach asked,libexecdir:LIBEXECDIR progname:PROGNAME sysconfdir:SYSCONFDIR,\
	test -n "$($(firstword $(subst :, ,$(asked))))" || { \
		echo "$(APXS) -q $(lastword $(subst :, ,$(asked))) answers nothing: have APXS name the apxs of your Apache," \
			"or set $(firstword $(subst :, ,$(asked)))." >&2; exit 1; };)
endef

install: ## Install what `make` built; DESTDIR, prefix, bindir, libexecdir and statedir are heard
	$(apxs_answers)
	@test -f $(module) && test -f $(slotctl) || { echo "Nothing is built yet: run make first." >&2; exit 1; }
	$(INSTALL) -D -m 0755 $(slotctl) $(DESTDIR)$(bindir)/slotctl
	$(INSTALL) -D -m 0644 $(module) $(DESTDIR)$(libexecdir)/mod_slot.so
	$(INSTALL) -d -m 0755 $(DESTDIR)$(statedir) $(DESTDIR)$(docdir)
	$(INSTALL) -m 0644 $(documents) $(DESTDIR)$(docdir)
ifeq ($(progname),apache2)
	$(INSTALL) -d -m 0755 $(DESTDIR)$(sysconfdir)/mods-available
	sed 's|@LIBEXECDIR@|$(libexecdir)|' apache/slot.load > $(DESTDIR)$(sysconfdir)/mods-available/slot.load
	@# An edited slot.conf is the administrator's.
	test -e $(DESTDIR)$(sysconfdir)/mods-available/slot.conf || \
		$(INSTALL) -m 0644 apache/slot.conf $(DESTDIR)$(sysconfdir)/mods-available/slot.conf
	@echo "Installed. Next: write a <SlotGroup> into $(sysconfdir)/mods-available/slot.conf, then"
	@echo "    a2enmod proxy proxy_http slot && apachectl configtest && apachectl restart"
else
	@echo "Installed. Next: put this after the lines of mod_proxy into httpd.conf, then restart Apache:"
	@echo "    LoadModule slot_module $(libexecdir)/mod_slot.so"
endif

uninstall: ## Remove what install put there, but for edited files and the recorded state
	$(apxs_answers)
ifeq ($(progname),apache2)
	-test -n "$(DESTDIR)" || ! test -e $(sysconfdir)/mods-enabled/slot.load || a2dismod -q slot
	rm -f $(DESTDIR)$(sysconfdir)/mods-available/slot.load
	! cmp -s apache/slot.conf $(DESTDIR)$(sysconfdir)/mods-available/slot.conf || \
		rm -f $(DESTDIR)$(sysconfdir)/mods-available/slot.conf
endif
	rm -f $(DESTDIR)$(libexecdir)/mod_slot.so $(DESTDIR)$(bindir)/slotctl
	rm -f $(addprefix $(DESTDIR)$(docdir)/,$(notdir $(documents)))
	@# What is not empty stays: the record of the active slots, somebody's own files.
	rmdir $(DESTDIR)$(docdir) $(DESTDIR)$(statedir) 2>/dev/null || true
	@echo "Removed. A running Apache still has the module in memory: restart it."

clean: ## Remove what was built
	@CARGO=$(firstword $(CARGO)) .ci/provide --say $(rust)
	$(CARGO) clean

# Each need: a shell word that finds it, and the Debian package that has it.
find_cc = command -v cc
find_httpd = $(if $(HTTPD),test -x $(HTTPD),$(if $(filter /%,$(APXS)),command -v $(APXS),\
	command -v apache2 httpd || test -x /usr/sbin/apache2 -o -x /usr/sbin/httpd))
find_apxs = command -v $(APXS)
# Not libclang-cpp, which is another library.
libclangs = $(foreach dir,$${LIBCLANG_PATH:-/nowhere} /usr/lib/llvm*/lib /usr/lib/*/ /usr/lib64 /usr/lib64/llvm*/lib*,\
	$(dir)/libclang.so* $(dir)/libclang-[0-9]*.so*)
find_libclang = ls $(libclangs) 2>/dev/null | grep -q .
find_mkfs = PATH="$$PATH:/usr/sbin:/sbin" command -v mkfs.ext4
find_openssl = command -v openssl
find_strace = command -v strace
find_valgrind = command -v valgrind
find_wrk = command -v wrk
find_ab = command -v ab
find_h2load = command -v h2load
find_nginx = command -v nginx || test -x /usr/sbin/nginx
find_haproxy = command -v haproxy || test -x /usr/sbin/haproxy
find_caddy = command -v caddy
find_tomcat = test -e $${CATALINA_HOME:-/usr/share/tomcat10}/bin/bootstrap.jar

# With what Rust's `cargo fmt` and `cargo clippy` come in.
find_fmt = $(CARGO) fmt --version
find_clippy = $(CARGO) clippy --version
# Cargo verifies with these where it downloads from.
find_certificates = test -n "$$CARGO_HTTP_CAINFO$$SSL_CERT_FILE$$SSL_CERT_DIR" || ls $(certificates) 2>/dev/null | grep -q .
certificates = /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem

need_build = cc:gcc httpd:apache2 apxs:apache2-dev libclang:libclang-dev certificates:ca-certificates
need_test = $(need_build) mkfs:e2fsprogs openssl:openssl strace:strace tomcat:tomcat10
need_valgrind = valgrind:valgrind
need_bench = $(need_valgrind) strace:strace wrk:wrk ab:apache2-utils h2load:nghttp2-client nginx:nginx-light haproxy:haproxy caddy:caddy
need_all = $(need_test) $(need_valgrind)
need_rust =
need_lint = fmt:rustfmt-web clippy:rust-web-clippy

# The packages of $(1) that are not there.
define missing
$(foreach need,$(1),{ $(find_$(firstword $(subst :, ,$(need)))); } >/dev/null 2>&1 || missing="$$missing $(lastword $(subst :, ,$(need)))";)
endef

# Installs the packages of $(1) that are not there, and Rust; or says what to install, and fails.
define provide
missing=; $(call missing,$(1)) CARGO=$(firstword $(CARGO)) .ci/provide $(rust) $$missing
endef

deps: ## Install what build and tests need (root, apt-get), or say what is missing
	@$(call provide,$(need_all))
	@echo "All that mod_slot's build and tests need is there."

check-rust check-build check-test check-valgrind check-bench: check-%:
	@$(call provide,$(need_$*))

# Debian has the two apart from cargo, rustup as components.
check-lint: check-build
	@if ! { $(find_fmt) && $(find_clippy); } >/dev/null 2>&1; then \
		if dpkg -S "$$(readlink -f "$$(command -v $(firstword $(CARGO)))")" >/dev/null 2>&1; then \
			$(call provide,$(need_lint)); \
		else \
			echo "Missing: cargo fmt or cargo clippy. With rustup: rustup component add rustfmt clippy" >&2; exit 1; \
		fi; \
	fi

.PHONY: all help demo test test-all test-bare soak model sanitize lint instructions bench install uninstall clean deps
.PHONY: check-rust check-build check-test check-lint check-valgrind check-bench

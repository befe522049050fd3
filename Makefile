# `make run` builds the server and starts it, `make test` runs all checks. Both install missing tools first.

CARGO ?= cargo

.PHONY: help run test stress mutants fuzz bench lint docs dist deb rpm test-packages image test-image test-systemd fmt \
	setup clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## build the server and start it with the embedded store (examples/standalone.toml)
	@tools/setup build
	@$(CARGO) build --locked
	@echo
	@echo 'Try this in another terminal:'
	@echo "  curl -i -H 'fleet-lock-protocol: true' -d @examples/request-body.json http://127.0.0.1:3333/v1/pre-reboot"
	@echo 'and open the status page: http://127.0.0.1:2222/'
	@echo
	@exec target/debug/airlock serve -vv --config examples/standalone.toml

test: lint ## run the lints and all tests
	@tools/setup test
	@# A snapshot that differs fails its test and no file is written.
	INSTA_UPDATE=no $(CARGO) test --locked

stress: ## simulate servers, check histories under faults, and fairness: make stress SECONDS=600 SEED=7
	@tools/setup test
	@# Each SEED simulates other seeds: those from SEED * SEEDS on.
	AIRLOCK_SIM_SEEDS=$(or $(SEEDS),10000) AIRLOCK_SEED=$$(($(or $(SEED),0) * $(or $(SEEDS),10000))) \
		$(CARGO) test --locked --lib simulation::no_seed -- --nocapture
	AIRLOCK_STRESS_SECONDS=$(or $(SECONDS),600) \
		$(CARGO) test --locked --test it fairness:: -- --nocapture --test-threads 1
	AIRLOCK_STRESS_SECONDS=$(or $(SECONDS),600) AIRLOCK_SEED=$(SEED) \
		$(CARGO) test --locked --test it linearizability:: -- --nocapture

# The code that decides about locks.
LOCKING := src/lock/** src/group/** src/store/** src/admin/**

mutants: ## change the source in every way that unit tests have to notice: make mutants FILES='src/group/**'
	@$(CARGO) mutants --version >/dev/null 2>&1 || { \
	  echo 'error: cargo-mutants is not installed'; \
	  echo 'hint: cargo install cargo-mutants --locked'; \
	  exit 1; \
	}
	@# The integration tests use target/tools, which a copy of the sources lacks.
	$(CARGO) mutants $(foreach file,$(or $(FILES),$(LOCKING)),--file '$(file)') --cargo-arg=--locked \
		$(if $(TESTS),--in-place -- --lib --test it -- $(TESTS),-- --lib)

fuzz: fuzz/Cargo.lock ## run parsers on generated input: make fuzz SECONDS=600 TARGETS='codec config'
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
	  echo 'error: cargo-fuzz is not installed'; \
	  echo 'hint: cargo install cargo-fuzz --locked'; \
	  exit 1; \
	}
	@tools/setup fuzz
	@# Sanitizers need a nightly compiler, and would find little: no code here is unsafe.
	@for target in $(or $(TARGETS),$(notdir $(wildcard fuzz/corpus/*))); do \
	  mkdir -p target/fuzz/corpus/$$target && \
	  $(CARGO) fuzz run --sanitizer none --codegen-units 16 --target-dir target/fuzz $$target \
	    target/fuzz/corpus/$$target fuzz/corpus/$$target -- -max_total_time=$(or $(SECONDS),60) -timeout=10 || exit 1; \
	done

# The versions of the dependencies are those of the server.
fuzz/Cargo.lock: Cargo.lock fuzz/Cargo.toml
	@cp Cargo.lock $@

bench: ## measure the release binary and update docs/performance.*: make bench ARGS='clients --seconds 2'
	@tools/setup test
	$(CARGO) build --locked --release
	@# Copied, since `cargo bench` replaces target/release/airlock with a binary of the bench profile.
	cp target/release/airlock target/airlock-to-measure
	AIRLOCK_BINARY=$(CURDIR)/target/airlock-to-measure $(CARGO) bench --locked --bench bench -- $(ARGS)

# The tools that tools/setup-python installs.
PYTHON_TOOLS := target/tools/python/bin
CHECK_SCHEMA := $(PYTHON_TOOLS)/check-jsonschema --quiet --builtin-schema

lint: ## check the format, clippy (warnings are errors), scripts, spelling, workflows, the TLS provider and the licenses
	@tools/setup lint
	$(CARGO) fmt --all --check
	$(PYTHON_TOOLS)/shellcheck $$(git grep -lI --untracked -E '^#!/(usr/)?bin/(env )?(bash|dash|sh)')
	$(PYTHON_TOOLS)/typos
	$(PYTHON_TOOLS)/zizmor --offline --quiet .github
	$(PYTHON_TOOLS)/jactionlint --profile correctness --shellcheck $(PYTHON_TOOLS)/shellcheck
	@$(CHECK_SCHEMA) vendor.github-workflows .github/workflows/*.yml
	@$(CHECK_SCHEMA) vendor.dependabot .github/dependabot.yml
	@$(CHECK_SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(CHECK_SCHEMA) vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@tree=$$($(CARGO) tree --locked --edges normal,build --prefix none) && \
	  if echo "$$tree" | grep -E '^(ring|openssl-sys|native-tls) '; then \
	    echo 'error: a second TLS provider beside aws-lc-rs: rustls would panic at its first use'; \
	    echo 'hint: `cargo tree -i CRATE` prints why the crate is a dependency'; \
	    exit 1; \
	  fi
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
	  echo 'warning: cargo-deny is not installed; licenses and advisories are not checked (cargo install cargo-deny)'; \
	else \
	  $(CARGO) deny --log-level error check licenses bans sources && \
	  if $(CARGO) deny fetch db >/dev/null 2>&1; then $(CARGO) deny check --disable-fetch advisories; \
	  else echo 'warning: the advisory database is unreachable; advisories are not checked'; fi; \
	fi

docs: ## build the documentation as a site in target/docs/site, and check its links
	@tools/setup docs
	tools/docs

dist: ## build a release in dist/: static binary, completions, manual pages, licenses, SBOM, checksums
	@tools/setup dist
	tools/dist

deb: ## add a Debian package to dist/
	@tools/setup packages
	tools/packages deb

rpm: ## add an RPM package to dist/
	@tools/setup packages
	tools/packages rpm

test-packages: ## build both packages, and install, start, upgrade and remove them in a Debian container
	@tools/setup test-packages
	tools/test-packages

image: ## build the container image with podman or buildah
	@labels=$$(tools/image-labels) && \
	  $$(command -v podman || command -v buildah) build --timestamp 0 $$labels --tag airlock .

test-image: ## build the image with buildah and test it with a real etcd
	@tools/setup image
	tools/test-image

test-systemd: ## start the units under systemd in a container of systemd-nspawn, as root: make test-systemd SUITES=trixie
	@tools/setup systemd
	tools/test-systemd $(SUITES)

fmt: ## format the source
	$(CARGO) fmt --all

setup: ## install the packages that building and testing need
	@tools/setup test

clean: ## remove target/ and dist/
	$(CARGO) clean
	rm -rf dist

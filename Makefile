# `make run` builds and serves, `make test` runs everything. Both install what is missing.

CARGO ?= cargo

.PHONY: help run test torture bench lint dist image image-check format setup clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## build and serve with the embedded store (examples/standalone.toml)
	@tools/setup build
	@$(CARGO) build --locked
	@echo
	@echo 'Try, in another terminal:'
	@echo "  curl -i -H 'fleet-lock-protocol: true' -d @examples/request-body.json http://127.0.0.1:3333/v1/pre-reboot"
	@echo
	@exec target/debug/airlock serve -vv --config examples/standalone.toml

test: lint ## everything: the lints, then all tests
	@tools/setup test
	$(CARGO) test --locked

torture: ## histories under faults, for long: make torture SECONDS=600 SEED=7
	@tools/setup test
	AIRLOCK_TORTURE_SECONDS=$(or $(SECONDS),600) AIRLOCK_SEED=$(SEED) \
		$(CARGO) test --locked --test it linearizability:: -- --nocapture

bench: ## measure, and write docs/performance.*: make bench ARGS='clients --seconds 2'
	@tools/setup test
	$(CARGO) build --locked --release
	# `cargo bench` puts a binary of its own profile in that place.
	cp target/release/airlock target/airlock-to-measure
	AIRLOCK_BINARY=$(CURDIR)/target/airlock-to-measure $(CARGO) bench --locked --bench bench -- $(ARGS)

lint: ## formatting, clippy with warnings denied, one TLS provider, cargo-deny
	@tools/setup build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@tree=$$($(CARGO) tree --locked --edges normal,build --prefix none) && \
	  if echo "$$tree" | grep -E '^(ring|openssl-sys|native-tls) '; then \
	    echo 'a second TLS provider beside aws-lc-rs: rustls would panic at first use (`cargo tree -i` says why it is there)'; \
	    exit 1; \
	  fi
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
	  echo 'cargo-deny is not installed, licences and advisories are not checked (cargo install cargo-deny)'; \
	else \
	  $(CARGO) deny --log-level error check licenses bans sources && \
	  if $(CARGO) deny fetch db >/dev/null 2>&1; then $(CARGO) deny check --disable-fetch advisories; \
	  else echo 'the database of advisories cannot be reached, they are not checked'; fi; \
	fi

dist: ## a release in dist/: static binary, completions, manual pages, SBOM, checksums
	@tools/setup build
	tools/dist

image: ## the container image, with podman or buildah
	@$$(command -v podman || command -v buildah) build --timestamp 0 --tag airlock .

image-check: ## build the image and run the how-to in it (buildah, etcd)
	@tools/setup image
	tools/check-image

format: ## format the source
	$(CARGO) fmt --all

setup: ## install what building and testing need
	@tools/setup test

clean: ## remove what was built
	$(CARGO) clean
	rm -rf dist

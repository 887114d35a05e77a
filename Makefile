# The three entry points: `make demo`, `make test`, `make env`. GNU make 3.81 or newer and a POSIX sh are enough.
# pip's own variables work as usual: on a machine without a GPU,
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo
# installs a torch without CUDA packages. envs/install.sh compares the installed packages with envs/lock/.

PYTHON ?= python3
# 1: Faiss on the GPU; 0: on the CPU. The default is the choice of the last `make env`.
GPU ?= $(if $(wildcard .venv/.ready-gpu),1,0)
# Processes that tests run on
WORKERS ?= 2
# Passed on: make demo ARGS=-n, make test ARGS="-k pools", make mutation-test ARGS="led_pipeline.training.losses*"
ARGS ?=

FAISS := $(if $(filter-out 0,$(GPU)),gpu,cpu)
READY := .venv/.ready-$(FAISS)
TESTS_READY := .venv/.ready-tests
PIP := .venv/bin/python -m pip
WITH_ENV := PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help env demo test test-fast lint types docs format gpu-check kill-test mutation-test unlock clean lock audit

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=python3.12   the Python that makes .venv (3.11 or newer)"
	@echo "  GPU=1               Faiss on the GPU instead of the CPU"
	@echo "  ARGS=...            passed on to snakemake (demo) or pytest (test)"
	@echo "  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu   torch without CUDA packages"

env: $(READY) ## make .venv with the pinned packages; again only when the pins change

# .installing marks an unfinished installation: after a killed pip, .venv is made again.
$(READY): pyproject.toml envs/install.sh $(wildcard envs/lock/*.txt)
	@command -v "$(PYTHON)" >/dev/null || { echo "make: no '$(PYTHON)' here; name a Python 3.11 or newer: make env PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$("$(PYTHON)" --version 2>&1) is too old; name a Python 3.11 or newer: make env PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@if [ -e .venv/.installing ] || ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "Making .venv with $$("$(PYTHON)" --version)"; "$(PYTHON)" -m venv --clear .venv || exit 1; fi
	@rm -f .venv/.ready-*
	@touch .venv/.installing
	@$(PIP) uninstall --quiet --yes $(if $(filter gpu,$(FAISS)),faiss-cpu,faiss-gpu-cu12) 2>/dev/null
	sh envs/install.sh .venv/bin/python $(FAISS)
	$(PIP) install --no-deps --no-build-isolation -e .
	@rm -f .venv/.installing
	@touch $@

$(TESTS_READY): $(READY) envs/lock/test.txt
	@rm -f $(READY)
	@touch .venv/.installing
	sh envs/install.sh .venv/bin/python test
	@rm -f .venv/.installing
	@touch $(READY) $@

demo: $(READY) ## raw text to a measured model, in minutes on a laptop, with nothing to download but packages
	@echo "Ctrl-C is safe, and so is any kill: 'make demo' goes on with what is missing."
	@$(WITH_ENV) snakemake --cores all $(ARGS) --configfile config/demo.yaml led_final || { status=$$?; \
	  echo; echo "The demo stopped; the messages above name the step and its log. 'make demo' goes on from there."; \
	  exit $$status; }
	@echo
	@echo "Look next at:"
	@echo "  results/demo/report/index.html   curves, metrics with intervals, queries side by side"
	@echo "  results/demo/report/table.txt    the table of metrics"
	@echo "  .venv/bin/led serve results/demo a page to search with its systems, side by side"
	@echo "  docs/                            what happened, and how to train on your own collection"

# Markers of tests that start several programs or wait for them; a file of them is run by one of the WORKERS.
SLOW := pipeline or ranks or java or cluster
# pytest ends with 5 where ARGS leave nothing to run.
PYTEST := $(WITH_ENV) OMP_NUM_THREADS=1 python -m pytest -n $(WORKERS) --dist loadfile
FAST := $(PYTEST) -m "not ($(SLOW))"

test: $(TESTS_READY) ## every test that this machine can run
	@$(FAST) $(ARGS); fast=$$?; [ $$fast != 2 ] || exit 2; $(PYTEST) -m "$(SLOW)" $(ARGS); slow=$$?; \
	  for status in $$fast $$slow; do case $$status in 0|5) ;; *) \
	  echo "Again only what failed: make test ARGS=--lf"; exit $$status;; esac; done

test-fast: $(TESTS_READY) ## the tests of single functions alone
	@$(FAST) $(ARGS)

lint: $(TESTS_READY) ## check format, unused code, style and wording
	@$(WITH_ENV) ruff check && $(WITH_ENV) ruff format --check --quiet && $(WITH_ENV) snakefmt --check Snakefile workflow
	@$(WITH_ENV) snakemake --lint --configfile config/demo.yaml
	@$(WITH_ENV) python tests/plain_english.py

types: $(TESTS_READY) ## check the types in src/ with mypy (strict)
	@$(WITH_ENV) mypy

docs: $(TESTS_READY) ## build the documentation site in build/site, and check its links and anchors
	@$(WITH_ENV) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

format: $(TESTS_READY) ## format Python and Snakemake files
	@$(WITH_ENV) ruff check --quiet --fix-only && $(WITH_ENV) ruff format && $(WITH_ENV) snakefmt Snakefile workflow

mutation-test: $(TESTS_READY) ## break each line of the modules in pyproject.toml and list the changes that no test notices; hours
	@.venv/bin/python -c 'import mutmut' 2>/dev/null || sh envs/install.sh .venv/bin/python mutation
	@mkdir -p mutants/src
	@$(WITH_ENV) PYTHONPATH="$(CURDIR)/mutants/src" OMP_NUM_THREADS=1 mutmut run --max-children $(WORKERS) $(ARGS)
	@$(WITH_ENV) mutmut results

gpu-check: $(READY) ## check what only a GPU runs, on one, and print a page; ARGS=--cpu: on the processor
	@$(WITH_ENV) python benchmarks/gpu_check.py $(ARGS)

kill-test: $(TESTS_READY) ## kill a small run 100 times and compare its results
	@rm -rf build/kill-test
	@$(WITH_ENV) python tests/kill_campaign.py --folder build/kill-test $(ARGS)

lock: $(TESTS_READY) ## rewrite envs/lock/: the pins of envs/ with the digests of their files
	@$(WITH_ENV) python envs/lock.py

audit: $(READY) ## check the pins for known vulnerabilities, and list the installed packages (build/sbom.json)
	@[ -x .audit/bin/python ] || "$(PYTHON)" -m venv .audit
	@.audit/bin/python -m pip install --quiet --no-deps --require-hashes --only-binary :all: -r envs/lock/audit.txt
	@mkdir -p build
	.audit/bin/cyclonedx-py environment --output-file build/sbom.json .venv/bin/python
	.audit/bin/pip-audit --strict --disable-pip --require-hashes $(foreach list,torch packages built $(FAISS) anserini test,-r envs/lock/$(list).txt)

unlock: $(READY) ## remove a lock of the demo that another machine left; the next run removes any other itself
	@$(WITH_ENV) snakemake --cores 1 --unlock --configfile config/demo.yaml

clean: ## remove .venv, caches and the demo's results; other results stay
	rm -rf .venv .audit results/demo logs/demo build src/*.egg-info .pytest_cache .ruff_cache mutants
	find src tests workflow -name __pycache__ -type d -prune -exec rm -rf {} +

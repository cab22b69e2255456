# Two commands: `make demo` and `make test`. Both set up .venv first, once.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip --disable-pip-version-check --quiet install --no-deps
LOCK := eshop_ray/environments/cpu.txt
INSTALLED := $(VENV)/.installed
DEV_LOCK := eshop_ray/environments/dev.txt
DEV_INSTALLED := $(VENV)/.installed-dev
BENCH_LOCK := eshop_ray/environments/bench.txt
BENCH_INSTALLED := $(VENV)/.installed-bench
DOCS_LOCK := eshop_ray/environments/docs.txt
DOCS_INSTALLED := $(VENV)/.installed-docs
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

export RAY_USAGE_STATS_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint docs bench-train bench-infer bench-scale bench-enrich bench-read bench-data bench-models bench-serve gpu-check clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Create .venv from the CPU lock, with the command `eshop` (a few minutes, 3.6 GB).

demo: $(INSTALLED) ## Sample shop -> tune, merge, answer, score: a table of base against tuned model.
	@$(PY) -m jobs.demo jobs/configs/demo.yaml

# Two processes: Ray and vLLM wait as often as they compute, and the tests of the other process fill the gaps.
PYTEST := $(PY) -m pytest -q tests --ignore=tests/bench --durations=25 -n 2 --dist loadgroup --no-loadscope-reorder

test test-all: export HF_HUB_OFFLINE := 1
test: $(DEV_INSTALLED) ## Run the tests, ten minutes on two cores (no GPU, no model hub).
	@$(PYTEST) -m "not slow"

test-all: $(DEV_INSTALLED) ## Run all tests: those above, and what repeats them on a larger scale.
	@$(PYTEST) --hypothesis-profile thorough

lint: $(DEV_INSTALLED) ## Check style, format and types.
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy --strict eshop_ray jobs docs/hooks

# Without --quiet, which hides warnings from --strict too.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DOCS_INSTALLED) ## Build the documentation into site/; a broken link or a name that does not exist fails.
	@$(PY) -m mkdocs build --strict
	@echo "Ready: site/index.html"

bench-train: $(BENCH_INSTALLED) ## Training against TRL, under half an hour: BENCH_ARGS="data.root=PATH [--only PART,...]".
	@$(PY) -m tests.bench.train $(BENCH_ARGS)

bench-infer: $(INSTALLED) ## Inference against vLLM, an hour: BENCH_ARGS="data.root=PATH [--only PART,...] [--sides SIDE,...]".
	@$(PY) -m tests.bench.infer $(BENCH_ARGS)

bench-scale: $(INSTALLED) ## Dispatch to 1 to 64 simulated GPUs.
	@$(PY) -m tests.bench.scale $(BENCH_ARGS)

bench-enrich: $(DEV_INSTALLED) ## Nights over 10^5 and 10^6 products against DuckDB and Polars, half an hour.
	@$(PY) -m tests.bench.enrich $(BENCH_ARGS)

bench-read: $(DEV_INSTALLED) ## Reading a million products against Polars.
	@$(PY) -m tests.bench.read $(BENCH_ARGS)

bench-data: $(BENCH_INSTALLED) ## Cleaning and near duplicates against datasets.map and datatrove, hours: BENCH_ARGS="[--products N]".
	@$(PY) -m tests.bench.data $(BENCH_ARGS)

bench-models: $(DEV_INSTALLED) ## Every architecture of the docs' table, trained and merged against Transformers and PEFT, three minutes.
	@$(PY) -m tests.bench.models $(BENCH_ARGS)

bench-serve: $(DEV_INSTALLED) ## The endpoint against vllm serve, its guards, memory and faults, an hour: BENCH_ARGS="[--parts PART,...]".
	@$(PY) -m tests.bench.serve $(BENCH_ARGS)

# With whatever Python there is, and without installing: a machine lent for minutes is bare.
gpu-check: ## What only a GPU can show, eight minutes: BENCH_ARGS="[--only PART,...] [--quantized FOLDER]".
	@$(or $(wildcard $(PY)),$(PYTHON)) tests/bench/gpu/check.py $(BENCH_ARGS)

clean: ## Remove .venv, site/ and the tools' caches; runs/ stays.
	rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(PY):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) not found: install Python 3.11 or newer, or name it: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old: 3.11 or newer is needed; name it: make setup PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(INSTALLED): $(LOCK) | $(PY)
	@echo "Installing $(LOCK) into $(VENV), a few minutes ..."
	@tag=$$($(PY) -c 'import platform, sys; v = sys.version_info; \
	  print(f"cp{v.major}{v.minor}-{sys.platform}-{platform.machine()}")'); \
	hashed=$(basename $(LOCK))-$$tag.txt; \
	if [ -e $$hashed ]; then what="--require-hashes -r $$hashed"; \
	else what="-r $(LOCK)"; echo "No digests for $$tag are at hand: the packages' files are not checked."; fi; \
	$(PIP_INSTALL) $$what 2>$(VENV)/install.log || { \
	  grep -q "DO NOT MATCH THE HASHES" $(VENV)/install.log && { cat $(VENV)/install.log >&2; exit 1; }; \
	  echo "Not everything is on the default package index; trying again with PyTorch's CPU index ..."; \
	  $(PIP_INSTALL) $$what --extra-index-url $(TORCH_CPU_INDEX); }
	@$(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@
	@echo "Ready: $(PY), and the command $(VENV)/bin/eshop"

$(DEV_INSTALLED): $(DEV_LOCK) $(INSTALLED)
	@echo "Installing $(DEV_LOCK) into $(VENV) ..."
	@$(PIP_INSTALL) -r $(DEV_LOCK)
	@touch $@

$(BENCH_INSTALLED): $(BENCH_LOCK) $(INSTALLED)
	@echo "Installing $(BENCH_LOCK) into $(VENV) ..."
	@$(PIP_INSTALL) -r $(BENCH_LOCK)
	@touch $@

$(DOCS_INSTALLED): $(DOCS_LOCK) $(INSTALLED)
	@echo "Installing $(DOCS_LOCK) into $(VENV) ..."
	@$(PIP_INSTALL) -r $(DOCS_LOCK)
	@touch $@

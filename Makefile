# The two commands are `make figures` and `make test`. ARGS goes to Snakemake: make figures ARGS="--config repetitions=5";
# CONFIG names a file of config/: make figures CONFIG=laptop
SHELL := /bin/bash
PYTHON ?= python3
CONFIG ?= config
RESULTS ?= $(shell sed -n 's/^results: *//p' config/$(CONFIG).yaml)
ARGS ?=
DRY := $(filter -n% --dry-run --dryrun,$(ARGS))
# Snakemake would make its report of a dry run too, and end with an error.
REPORT := $(if $(DRY),,--report $(RESULTS)/report.html --report-after-run --report-stylesheet workflow/report/style.css)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
.PHONY: figures test test-all matrix compare benchmark lint format lock clean

figures: .venv/workflow.txt
	@python workflow/scripts/unlock.py
	snakemake --cores all figures --show-failed-logs --configfile config/$(CONFIG).yaml $(REPORT) $(ARGS)
	@$(if $(DRY),,echo "Figures: $(CURDIR)/$(RESULTS)/figures   Tables: $(CURDIR)/$(RESULTS)/tables   Report: $(CURDIR)/$(RESULTS)/report.html")

test: .venv/test.txt
	@python workflow/scripts/unlock.py
	pytest

test-all: .venv/test.txt
	@python workflow/scripts/unlock.py
	pytest --all

compare: .venv/workflow.txt
	@python workflow/scripts/compare.py $(FIRST) $(SECOND)

matrix: .venv/test.txt
	python workflow/scripts/matrix.py --readme docs/experiments.md

benchmark: .venv/workflow.txt
	@python workflow/scripts/unlock.py
	snakemake --cores all results/benchmark/tables/{throughput,vectorised,latency}.csv --show-failed-logs \
	  --configfile config/benchmark.yaml $(ARGS)
	for part in speed servers; do \
	  PYTHONPATH=workflow/scripts resources/environments/harness/python benchmarks/$$part.py || exit 1; done

lint: .venv/test.txt
	ruff check . && ruff format --check . && snakefmt --check Snakefile rules && snakemake --lint

format: .venv/test.txt
	ruff check --fix . && ruff format . && snakefmt Snakefile rules

lock: .venv/workflow.txt
	python workflow/scripts/lock.py
	snakemake --cores 1 resources/environments/jars/python
	for set in envs/java/*.yaml; do resources/environments/jars/python workflow/scripts/jars.py --set $$set --lock || exit 1; done

clean:
	rm -rf .venv .snakemake resources logs .pytest_cache .ruff_cache .hypothesis

# Exactly the pins of envs/NAME.yaml, by the pinned uv; a change of the pins installs again.
.venv/%.txt: envs/%.yaml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 $*"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { test "$$(id -u)" = 0 && apt-get update && apt-get install -y python3-venv; } \
	  || { echo "python3 cannot make virtual environments. On Debian: apt-get install python3-venv"; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@sed -n 's/^ *- \(.*==.*\)$$/\1/p' $< > .venv/$*.part
	@python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' .venv/$*.part)" \
	  && uv pip install --quiet --no-deps --python .venv/bin/python -r .venv/$*.part \
	  || { echo "The packages of $< cannot be installed: check the network (a package index must be reachable) and the disk"; exit 1; }
	@mv .venv/$*.part $@

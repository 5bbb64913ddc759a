# The two commands are `make figures` and `make test`. ARGS goes to Snakemake: make figures ARGS="--config repetitions=5";
# CONFIG names a file of config/: make figures CONFIG=laptop
SHELL := /bin/bash
PYTHON ?= python3
CONFIG ?= config
ARGS ?=
# Only the last --config counts: where ARGS has one, these go into it.
GIVEN := $(if $(PRECISION),precision=$(PRECISION) )$(if $(AT_MOST),at_most=$(AT_MOST) )$(if $(filter redraw,$(MAKECMDGOALS)),measure=false )
CALL := $(if $(GIVEN),$(if $(filter --config,$(ARGS)),$(subst --config ,--config $(GIVEN),$(ARGS)),--config $(GIVEN)$(ARGS)),$(ARGS))
TOOL := PYTHONPATH=workflow/scripts python workflow/scripts/tools
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The programs of an environment know where it was made.
$(if $(shell grep -qs '^command' .venv/pyvenv.cfg && ! grep -qF " $$(cd .venv && pwd -P)" .venv/pyvenv.cfg && rm -rf .venv && echo moved),\
  $(info This checkout was moved or copied: its .venv is made again.))
.PHONY: help figures debug redraw report environments examples doctor test test-all check lint test-fast lint-python lint-rules lint-workflow lint-walls lint-types \
  matrix schema compare benchmark resolution format lock clean

help:
	@printf '%-26s %s\n' \
	  "make figures" "measure what is missing; draw the figures, the tables and the report" \
	  "make figures CONFIG=laptop" "the same with config/laptop.yaml; ARGS=... goes to Snakemake, ARGS=-n shows the plan" \
	  "make figures PRECISION=0.1" "repeat until each interval is within 10 % of its mean; AT_MOST=8 rounds" \
	  "make debug" "the same with config/debug.yaml: every part once, which proves that all works here" \
	  "make redraw" "the same of the runs that lie in results, whoever measured them; nothing is measured" \
	  "make report" "the report, and whatever of the results it lacks" \
	  "make environments" "everything that needs a network, ahead: environments, jars, data set and models" \
	  "make examples" "two models as files with samples, which config/laptop.yaml names" \
	  "make doctor" "what this machine lacks, and what to do about it" \
	  "make check" "lint, types and every test that needs no engine" \
	  "make test" "make check, then the tests on real engines; ARGS=\"-k ray\" goes to pytest" \
	  "make test-all" "the same with every pair and model, not a sample" \
	  "make compare" "two results folders: FIRST=results SECOND=other" \
	  "make benchmark" "how fast Crayfish's own parts are, to docs/performance.md" \
	  "make resolution" "which differences can be told apart, for docs/performance.md" \
	  "make lint" "style, rules, walls and types alone" \
	  "make format" "format the code" \
	  "make schema" "config/schema.yaml and the tables of docs/configuration.md, after a change of a declaration" \
	  "make matrix" "the table of systems in docs/experiments.md, likewise" \
	  "make lock" "pin the environments and jars anew" \
	  "make clean" "remove all but results"

CONFIGS := $(patsubst config/%.yaml,%,$(filter-out %/schema.yaml %/experiments.yaml %/_template.yaml,$(wildcard config/*.yaml)))
KNOWN = @test -f config/$(CONFIG).yaml || { echo "CONFIG=$(CONFIG): there is no config/$(CONFIG).yaml; there are: $(CONFIGS)"; exit 1; }
SNAKEMAKE = snakemake --cores all $(1) --show-failed-logs --configfile config/$(CONFIG).yaml $(CALL)
# The files of `own_models` are read before any rule is run: those that are examples are made by a call of their own.
EXAMPLES = $(if $(shell grep -s '^ .*resources/examples' config/$(CONFIG).yaml),@$(MAKE) --no-print-directory examples)

examples: .venv/workflow.txt
	@$(TOOL)/unlock.py
	snakemake --cores all examples --show-failed-logs

figures: .venv/workflow.txt
	$(KNOWN)
	$(EXAMPLES)
	@$(TOOL)/unlock.py
	$(call SNAKEMAKE,figures report)

redraw: .venv/workflow.txt
	$(KNOWN)
	@$(TOOL)/unlock.py
	$(call SNAKEMAKE,figures report)

report: .venv/workflow.txt
	$(KNOWN)
	@$(TOOL)/unlock.py
	$(call SNAKEMAKE,report)

environments: .venv/workflow.txt
	$(KNOWN)
	$(EXAMPLES)
	@$(TOOL)/unlock.py
	$(call SNAKEMAKE,environments)

debug:
	@$(MAKE) --no-print-directory figures CONFIG=debug

# ARGS goes to pytest and replaces its choice of tests: make test ARGS="-k kafka_streams"; make test ARGS="-m flink"
test: $(if $(ARGS),.venv/test.txt,check)
	@$(TOOL)/unlock.py
	pytest -p no:randomly $(or $(ARGS),-m engine)

test-all: $(if $(ARGS),.venv/test.txt,check)
	@$(TOOL)/unlock.py
	pytest --all -p no:randomly $(or $(ARGS),-m "engine or full")

compare: .venv/workflow.txt
	@$(TOOL)/compare.py $(FIRST) $(SECOND)

matrix: .venv/test.txt
	$(TOOL)/matrix.py --file docs/experiments.md

schema: .venv/test.txt
	$(TOOL)/schema.py

benchmark: .venv/workflow.txt
	@$(TOOL)/unlock.py
	snakemake --cores all results/benchmark/tables/{throughput,vectorised,latency}.csv --show-failed-logs \
	  --configfile config/benchmark.yaml $(ARGS)
	for part in speed servers report; do \
	  PYTHONPATH=workflow/scripts resources/environments/harness/python benchmarks/$$part.py || exit 1; done

# Side by side; -k: a fault in one hides none in another.
LINTS := lint-python lint-rules lint-workflow lint-walls lint-types
check: .venv/test.txt
	@$(MAKE) --no-print-directory -k -j2 -Otarget test-fast $(LINTS)

lint: .venv/test.txt
	@$(MAKE) --no-print-directory -k -j2 -Otarget $(LINTS)

test-fast:
	pytest -n logical --maxprocesses 4 --dist loadfile -m "not engine" $(ARGS)
lint-python:
	ruff check . && ruff format --check .
lint-rules:
	snakefmt --check Snakefile rules
lint-workflow:
	snakemake --lint
lint-walls:
	PYTHONPATH=workflow/scripts lint-imports
lint-types:
	mypy

resolution: .venv/workflow.txt
	@$(TOOL)/unlock.py
	snakemake --cores all results/resolution/tables/resolution_repetitions.csv --show-failed-logs \
	  --configfile config/resolution.yaml $(ARGS)
	PYTHONPATH=workflow/scripts resources/environments/analysis/python benchmarks/resolution.py

format: .venv/test.txt
	ruff check --fix . && ruff format . && snakefmt Snakefile rules

lock: .venv/workflow.txt
	$(TOOL)/lock.py
	snakemake --cores 1 resources/environments/jars/python
	for set in envs/java/*.yaml; do resources/environments/jars/python workflow/scripts/jars.py --set $$set --lock || exit 1; done

doctor: .venv/workflow.txt
	@$(TOOL)/doctor.py

clean:
	rm -rf .venv .snakemake resources logs .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

# Exactly the pins of envs/NAME.yaml, by the pinned uv; a change of the pins installs again.
.venv/%.txt: envs/%.yaml envs/build.yaml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 $*"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { test "$$(id -u)" = 0 && apt-get update && apt-get install -y python3-venv; } \
	  || { echo "python3 cannot make virtual environments. On Debian: apt-get install python3-venv"; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@for file in $< envs/build.yaml; do sed -n 's/^ *- \(.*==.*\)$$/\1/p' $$file > .venv/$$(basename $$file .yaml).part; done
	@grep '^uv==' .venv/$*.part > .venv/uv.part
	@python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.part \
	  && uv pip install --quiet --compile-bytecode --no-deps --require-hashes --build-constraints .venv/build.part --python .venv/bin/python -r .venv/$*.part \
	  || { echo "The packages of $< cannot be installed: check the network (a package index must be reachable) and the disk"; exit 1; }
	@mv .venv/$*.part $@

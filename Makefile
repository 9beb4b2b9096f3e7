# make          set up .venv and run the pipeline
# make test     set up the same and run the tests
# make verify   run the pipeline in two fresh clones and compare every output
# make bench    measure time and memory beside the notebook; DATA=path/to/stage1_train.zip for real data
# make check    the linter and the type checker
# make lock     compile requirements.txt again after a change of requirements.in

PYTHON ?= python3
VENV := $(CURDIR)/.venv
RUN := PATH="$(VENV)/bin:$$PATH" NO_ALBUMENTATIONS_UPDATE=1
PIP := "$(VENV)/bin/python" -m pip install --disable-pip-version-check --quiet --require-hashes
COMPILE := "$(VENV)/bin/python" -m uv pip compile --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: all setup setup-tests test verify bench check lock

all: setup
	$(RUN) dvc repro

setup: .venv/pipeline

setup-tests: .venv/tests

.venv/pipeline: requirements.txt
	test -x "$(VENV)/bin/python" || $(PYTHON) -m venv "$(VENV)"
	$(PIP) -r requirements.txt
	touch $@

.venv/tests: .venv/pipeline tests/requirements.txt requirements-export.txt
	$(PIP) -r tests/requirements.txt
	$(PIP) -r requirements-export.txt
	touch $@

# Two processes with one thread each: most of the time goes to imports and to single-threaded stages.
test: setup-tests
	$(RUN) OMP_NUM_THREADS=1 python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

verify: setup
	$(RUN) python tests/verify.py

bench: setup
	$(RUN) python tests/benchmarks/bench.py $(DATA)

check: setup-tests
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

lock: setup-tests
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) tests/requirements.in -o tests/requirements.txt
	$(COMPILE) requirements-export.in -o requirements-export.txt
	$(COMPILE) requirements-microscopes.in -o requirements-microscopes.txt
	$(COMPILE) requirements-cluster.in -o requirements-cluster.txt

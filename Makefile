# Every target sets up what it needs: `make demo` and `make test` work on a bare machine with Python 3.11 or later.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What is drawn, trained and scored by `make demo`.
DEMO_ROOT ?= $(CURDIR)/workspace
# Where `make mine` puts everything, what it reads, and options of its training.
MINE_ROOT ?= $(CURDIR)/mine
SOURCE ?=
TRAIN ?=
# Options of `make drill`, `train-drill`, `tune-drill`, `nodes-drill` and `submit-drill`, of `make nights`, and of `make bench`.
DRILL ?=
NIGHTS ?=
BENCH ?=
# Of `make study`: which one, and more options of jobs/tune.py.
NAME ?=
STUDY ?=
INSTALLED = $(VENV)/.installed-dev

.PHONY: install demo test check format unit coverage drill train-drill tune-drill study mine browse nights nodes-drill submit-drill bench docs-check lock ui clean help

help:
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/'

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed, this is " + sys.version'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,s3]'
	touch $@

install: $(INSTALLED) ## the virtual environment

demo: $(INSTALLED) ## the main job on the built-in demo catalog: ingest, train, score
	FASHION_RAY_ROOT=$(DEMO_ROOT) $(BIN)/python jobs/ingest.py --source demo
	FASHION_RAY_ROOT=$(DEMO_ROOT) $(BIN)/python jobs/train.py
	FASHION_RAY_ROOT=$(DEMO_ROOT) $(BIN)/python jobs/score.py

test: check ## formatting, lint, types and all tests
	$(BIN)/python -m pytest --numprocesses 2 --no-loadscope-reorder

check: $(INSTALLED) ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED) ## mend formatting and what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unit: $(INSTALLED) ## the tests that need no cluster, in seconds
	$(BIN)/python -m pytest tests/unit

coverage: $(INSTALLED) ## the lines of the library that tests reach in their own process: 90% at least, or it fails; pages in build/coverage
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/python -m coverage run -m pytest --numprocesses 0 --timeout 900 tests/unit tests/cluster
	$(BIN)/python -m coverage html --quiet --directory build/coverage/pages --fail-under 0
	$(BIN)/python -m coverage report

drill: $(INSTALLED) ## kill nightly scoring in every way and check what is left of it; DRILL="--root ROOT --only driver"
	$(BIN)/python benchmarks/drill.py $(DRILL)

train-drill: $(INSTALLED) ## kill a training run in every way and check that it ends as if nothing had been
	$(BIN)/python benchmarks/train_drill.py $(DRILL)

tune-drill: $(INSTALLED) ## kill a search twice and check that it ends with the trials of an undisturbed one
	$(BIN)/python benchmarks/tune_drill.py $(DRILL)

study: $(INSTALLED) ## an earlier study on the workspace's catalog: NAME=class30-cnn STUDY="--set schedule=all:2" (docs/studies.md)
	FASHION_RAY_ROOT=$(DEMO_ROOT) $(BIN)/python jobs/tune.py --study $(NAME) $(STUDY)

nights: $(INSTALLED) ## fourteen simulated nights, twice, with the books checked every morning; NIGHTS="--root ROOT --rounds 1"
	$(BIN)/python benchmarks/nights.py $(NIGHTS)

nodes-drill: $(INSTALLED) ## ingest, train and score on a cluster of three nodes here, and kill a node in each
	$(BIN)/python benchmarks/nodes_drill.py $(DRILL)

submit-drill: $(INSTALLED) ## every job by `ray job submit` on a cluster of this machine's own, one stopped and resumed; DRILL="--bucket" on object storage
	$(BIN)/python benchmarks/submit_drill.py $(DRILL)

bench: $(INSTALLED) ## all ratios of the benchmarks in one table, in less than 25 minutes; BENCH="--source feed.zip --only peers"
	test -e $(DEMO_ROOT)/models || $(MAKE) demo
	$(BIN)/python benchmarks/bench.py --root $(DEMO_ROOT) $(BENCH)

docs-check: $(INSTALLED) ## run the commands of README.md and docs/ on the demo catalog
	$(BIN)/python benchmarks/docs_check.py

ui: $(INSTALLED) ## the MLflow UI over the workspace's runs, on localhost
	$(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///$(DEMO_ROOT)/mlflow/mlflow.db

mine: $(INSTALLED) ## your own pictures, a folder per class: make mine SOURCE=pictures; ingest, train and score them below ./mine
	test -n "$(SOURCE)" || { echo 'expected SOURCE=FOLDER, which has a folder of pictures per class'; exit 2; }
	FASHION_RAY_ROOT=$(MINE_ROOT) $(BIN)/python jobs/ingest.py --source "$(SOURCE)"
	FASHION_RAY_ROOT=$(MINE_ROOT) $(BIN)/python jobs/train.py $(TRAIN)
	FASHION_RAY_ROOT=$(MINE_ROOT) $(BIN)/python jobs/score.py

browse: $(INSTALLED) ## look through the workspace's scores in a browser, on localhost until interrupted
	FASHION_RAY_ROOT=$(DEMO_ROOT) $(BIN)/python jobs/browse.py --serve

lock: ## resolve the dependencies anew and write constraints.txt
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,s3]'
	build/lock/bin/python -m pip freeze --exclude-editable > constraints.txt

clean: ## remove the virtual environment, not the workspace
	rm -rf $(VENV) build

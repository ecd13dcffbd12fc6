# Two commands for a fresh clone: `make quickstart` and `make test`. They need Python 3.11+, make and pip.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test lint clean

quickstart: $(VENV)/.quickstart
	$(BIN)/optical run recipes/quickstart/swahili.yaml $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# A marker for each set of extras: changed requirements install again.
$(VENV)/.quickstart $(VENV)/.test $(VENV)/.dev: $(VENV)/.%: $(VENV)/bin/pip setup.py constraints.txt
	$(BIN)/pip install --quiet --editable ".[$*]" --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

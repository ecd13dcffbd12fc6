# For a fresh clone: `make quickstart`, `make test`, `make interop`, `make docs`. They need Python 3.11+, make and pip.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
COMMA := ,

# Threads that wait leave their core to others. It holds for everything that starts from here.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: quickstart test test-oldest fuzz interop lint docs coverage dead-code audit clean

quickstart: $(VENV)/.quickstart
	$(BIN)/optical run recipes/quickstart/swahili.yaml $(ARGS)
	@echo "To use it in this shell: . $(BIN)/activate"

# Two processes of one thread each: most tests wait for one core. Files stay together, they share what they make.
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

# Every dependency at the lower bound that setup.py names; see docs/versions.md.
test-oldest: $(VENV)-oldest/.ready
	OMP_NUM_THREADS=1 $(VENV)-oldest/bin/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile $(ARGS)

$(VENV)-oldest/.ready: setup.py constraints-oldest.txt
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/pip install --quiet --editable ".[test]" --constraint constraints-oldest.txt
	touch $@

# Forty times the examples of bad input, and new ones each time; attacks (test_bad_attacks.py) run under limits of memory and time.
fuzz: $(VENV)/.test
	$(BIN)/python -m pytest $$(git ls-files "tests/**/test_bad_*.py" "tests/**/test_any_*.py") --hypothesis-profile nightly $(ARGS)

coverage: $(VENV)/.test $(VENV)/.dev
	$(BIN)/python -m coverage run -m pytest $(ARGS)
	$(BIN)/python -m coverage report

dead-code: $(VENV)/.dev
	$(BIN)/vulture

audit: $(VENV)/.dev
	$(BIN)/pip-audit --local --skip-editable

# PyLate and colbert-ai pin other versions of transformers, so each has an environment of its own.
interop: $(VENV)/.test $(VENV)-pylate/.ready $(VENV)-colbert/.ready
	OPTICAL_PYLATE_PYTHON=$(abspath $(VENV)-pylate/bin/python) OPTICAL_COLBERT_PYTHON=$(abspath $(VENV)-colbert/bin/python) \
		$(BIN)/python -m pytest tests/modeling_optical/checkpoints/test_parity.py -k "pylate or stanford" $(ARGS)

$(VENV)-%/.ready: tests/modeling_optical/checkpoints/peers/%.requirements.txt
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/pip install --quiet --requirement $<
	$(VENV)-$*/bin/pip install --quiet --no-deps $$(sed -n 's/^# no-deps: //p' $<)
	touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# A marker for each set of extras: changed requirements install again.
$(VENV)/.quickstart $(VENV)/.test $(VENV)/.docs $(VENV)/.dev: $(VENV)/.%: $(VENV)/bin/pip setup.py constraints.txt
	$(BIN)/pip install --quiet --editable ".[$*$(and $(filter quickstart,$*),$(COMMA)serve)]" --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-pylate $(VENV)-colbert build *.egg-info

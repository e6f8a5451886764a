# Two commands do all the set-up on a machine that has Python 3.11 or newer:
#   make demo    install, train on the bundled prose, draw samples, score two sentences
#   make test    install, run the whole test suite
# More: make reliability, make test-nightly, make lint, make bench, make clean.
# PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test reliability test-nightly lint format bench clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $@

PAIR := "The apple and pair salad"
PEAR := "The apple and pear salad"

# Ends in an error unless both levels have learned that pears go into salads.
demo: $(VENV)/.installed
	rm -rf checkpoints/demo-char checkpoints/demo-word
	$(BIN)/charlm train --demo --name demo-char --time 45s
	$(BIN)/charlm train --demo --name demo-word --level word --time 25s
	$(BIN)/charlm sample --model demo-char --n 5
	$(BIN)/charlm sample --model demo-word --n 5
	@for level in char word; do \
	    echo "== $$level level"; \
	    $(BIN)/charlm score --model demo-$$level $(PAIR) $(PEAR) || exit 1; \
	    $(BIN)/charlm score --model demo-$$level --json $(PAIR) $(PEAR) | tail -n 1 \
	        | grep -q '"rank": 1' || { echo "pear did not win at $$level level"; exit 1; }; \
	done

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# The rows of docs/reliability.md with their counts; nightly runs ten times as many cases.
reliability: $(VENV)/.installed
	$(BIN)/python -m pytest -m row --matrix

test-nightly: $(VENV)/.installed
	$(BIN)/python -m pytest -m row --matrix --nightly

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

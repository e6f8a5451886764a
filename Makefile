# Two commands do all the set-up on a machine that has Python 3.11 or newer:
#   make demo    install, train on the bundled prose, draw samples, score two sentences
#   make test    install, run the whole test suite; a part of it with T= one path or more, or words:
#                make test T=tests/inference/test_score.py, make test T="mixture label"
# More: make fast (the tests without the rows of the matrix and the slowest), make reliability, make
# test-nightly, make test-bulk (Ray, Spark), make lint, make docs, make site (the pages as a site),
# make smoke (a release in fresh environments), make bench, make clean; make audit
# asks for known vulnerabilities, make hashed installs nothing but files of known hashes (torch
# apart).
# PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test fast reliability test-nightly test-bulk lint format docs site smoke bench audit hashed lock clean

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

# Of T what is a path is run, and what is none is a word for -k. One file alone needs one process.
space := $(subst ,, )
PATHS := $(foreach word,$(T),$(if $(wildcard $(firstword $(subst ::, ,$(word)))),$(word)))
WORDS := $(strip $(filter-out $(PATHS),$(T)))
KEYWORDS := $(if $(filter and or not,$(WORDS)),$(WORDS),$(subst $(space), or ,$(WORDS)))
ONE_FILE := $(if $(filter 1,$(words $(T))),$(filter %.py,$(firstword $(subst ::, ,$(PATHS)))))
WORKERS := --numprocesses 2 --dist loadfile

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(if $(ONE_FILE),,$(WORKERS)) $(PATHS) $(if $(WORDS),-k '$(KEYWORDS)')

# All but the rows of docs/reliability.md and the slowest others: about a third of the time.
fast: $(VENV)/.installed
	$(BIN)/python -m pytest $(WORKERS) -m 'not row and not slow'

# The rows of docs/reliability.md with their counts; nightly runs ten times as many cases.
reliability: $(VENV)/.installed
	$(BIN)/python -m pytest -m row --matrix

test-nightly: $(VENV)/.installed
	$(BIN)/python -m pytest -m row --matrix --nightly

# Scorer on Ray, Spark and Hugging Face datasets, in an environment of their own: they are heavy.
test-bulk:
	$(PYTHON) -m venv .venv-bulk
	.venv-bulk/bin/python -m pip install --quiet --constraint constraints.txt pip
	.venv-bulk/bin/python -m pip install --quiet --constraint constraints.txt --group dev --group bulk --editable .
	.venv-bulk/bin/python -m pytest tests/bulk -rs

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The page of all commands, from their help; the lines of what docs/equations.md quotes.
docs: $(VENV)/.installed
	$(BIN)/python -m charlm.cli.reference > docs/cli.md
	$(BIN)/python docs/quotations.py

# The pages as a site, in site/; a link that leads nowhere is an error.
site: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group site
	$(BIN)/python -m sphinx -E -q -W --keep-going -c docs/site . site

# A release is built and tried in a fresh environment of each Python that is found; the one of
# PYTHONS alone with PYTHONS=3.12.
smoke: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group release
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench smoke $(PYTHONS)

bench: $(VENV)/.installed
	$(BIN)/python -m bench

# Known vulnerabilities of the packages of constraints.txt. PyPI's service is asked, so it needs the
# network; what could not be audited is an error as well.
audit: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet pip-audit
	@$(BIN)/python -m pip_audit --strict --no-deps --disable-pip --requirement constraints.txt || { \
	    echo "make audit: not passed: PyPI could not be asked, or knows a vulnerability (above)"; \
	    exit 1; }

# A virtual environment beside the usual one in which pip has compared every file with its hash.
hashed:
	rm -rf .venv-hashed
	$(PYTHON) -m venv .venv-hashed
	.venv-hashed/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements-hashed.txt
	.venv-hashed/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-hashed/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	.venv-hashed/bin/python -m pip check

# Write requirements-hashed.txt anew, its first lines kept, after a change of constraints.txt.
lock: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet uv
	grep '^#' requirements-hashed.txt > .lock
	grep -v -e '^#' -e '^torch==' constraints.txt | $(BIN)/python -m uv pip compile --quiet --no-config \
	    --default-index https://pypi.org/simple --generate-hashes --no-deps --no-header --no-annotate \
	    --universal --python-version 3.11 - >> .lock
	mv .lock requirements-hashed.txt

clean:
	rm -rf $(VENV) .venv-hashed .venv-bulk .pytest_cache .mypy_cache .ruff_cache .hypothesis dist site

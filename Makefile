# make demo   install, start the farm, render a first batch into demo/, stop
# make up     install, start the farm, stay up until Ctrl-C
# make test   install what the tests need and run all of them

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo up test check clean

demo: $(VENV)/.up
	rm -rf demo
	$(BIN)/farm up --port 0 --demo --download demo --stop-when-done

up: $(VENV)/.up
	$(BIN)/farm up

test: check
	$(BIN)/python -m pytest

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo

$(VENV)/.up: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[up]'
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@ $(VENV)/.up

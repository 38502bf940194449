# make demo   install, start the farm, render a first batch into demo/, stop
# make up     install, start the farm, stay up until Ctrl-C
# make test   install what the tests need and run all of them
#
# On Linux, PyPI has torch with CUDA only, which brings 5 GB. TORCH=cpu takes PyTorch's own build for the CPU (0.2 GB):
#
#             make demo TORCH=cpu
#
# make model      try the farm against its model in thousands of random histories, others each time (10 minutes)
# make chaos      break a real farm for ten minutes; then two farms that must be found out (12 minutes)
# make recovery   how long the farm takes to go on after a loss, and in an outage (8 minutes)
# make endurance  steady work for half an hour: does anything grow?
# make yardstick  the same images through the farm and through a plain Celery farm, side by side (15 minutes)
# make pgbouncer  workers behind PgBouncer, which must be installed (Debian: apt-get install pgbouncer)
# make fuzz       try the portal with random requests and broken files, others each time, for some minutes

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?=
# Where TORCH=cpu finds torch, or a mirror of it; everything else still comes from PyPI.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo up test tests check fuzz model pgbouncer chaos recovery endurance yardstick clean

demo: $(VENV)/.up
	rm -rf demo
	$(BIN)/farm up --port 0 --demo --download demo --stop-when-done

up: $(VENV)/.up
	$(BIN)/farm up

# The types are checked while the first tests run.
test:
	$(MAKE) --jobs=2 check tests

tests: $(VENV)/.test
	$(BIN)/python -m pytest

fuzz: $(VENV)/.test
	FARM_FUZZ_EXAMPLES=500 FARM_FUZZ_SEED=$$(date +%s) $(BIN)/python -m pytest -n0 tests/web/test_fuzz.py \
		tests/farm/infotext/test_fuzz.py tests/farm/intake/promptfiles/test_fuzz.py

pgbouncer: $(VENV)/.test
	$(BIN)/python -m pytest -n0 tests/pooled/check_pgbouncer.py

model: $(VENV)/.test
	$(BIN)/python -m pytest -n0 tests/model --hypothesis-profile=model

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos run --seconds 600
	$(BIN)/python -m tests.chaos ablations

recovery: $(VENV)/.test
	$(BIN)/python -m tests.chaos recovery

endurance: $(VENV)/.test
	$(BIN)/python -m tests.chaos endurance --minutes 30

yardstick: $(VENV)/.test
	$(BIN)/python -m tests.bench yardstick

clean:
	rm -rf $(VENV) demo

# Before anything is downloaded; a machine with a GPU wants those 5 GB, and one that has torch already gets no other.
define say_what_torch_brings
if [ -z "$(TORCH)" ] && [ "$$(uname -s)" = Linux ] && ! nvidia-smi > /dev/null 2>&1 \
		&& ! [ -d "$$(echo $(VENV)/lib/python3*/site-packages/torch)" ]; then \
	echo "No NVIDIA GPU is found here. Unless pip is set up to find torch for the CPU, it now downloads torch with CUDA,"; \
	echo "3 GB that take 5 GB on disk. Without CUDA, 0.2 GB: stop this, and add TORCH=cpu to the same command."; \
fi
endef

# Alone and first: what is not there is known at once, and no other package is asked of that index.
define take_torch_for_the_cpu
$(BIN)/python -m pip install --quiet --no-compile --no-deps --retries 0 --timeout 20 --index-url $(TORCH_INDEX) \
		--constraint constraints.txt torch \
		|| { echo "TORCH=cpu: torch cannot be had from $(TORCH_INDEX). TORCH_INDEX= takes a mirror or a folder."; exit 1; }
endef

# The pip that comes with a Python may be old, and old ones take twice as long. What will be imported is compiled
# afterwards, side by side: pip would compile three times as much, file by file.
define install
	@$(say_what_torch_brings)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(if $(filter cpu,$(TORCH)),$(take_torch_for_the_cpu))
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[$(1)]'
	for module in $(2); do PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import gc; gc.disable(); import $$module" 2> /dev/null & done; wait
endef

$(VENV)/.up: pyproject.toml constraints.txt
	$(call install,up,workers.diffusion scipy.stats web.server)
	touch $@

# SD Prompt Reader comes without what its windows need, and without its old Pillow: the tests have it read files alone.
$(VENV)/.test: pyproject.toml constraints.txt
	$(call install,test,workers.diffusion scipy.stats web.server moto.server schemathesis)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --no-deps sd-prompt-reader
	touch $@ $(VENV)/.up

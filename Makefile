# make table   install, train the periodic table of 2,400 networks, say where it is
# make web     install, and serve the page at http://localhost:5000 (ARGS=--port=5001 for another)
# make test    install, check the style, run the whole suite on two cores (JOBS=4 for four)
# make bench   speed, side by side with NumPy, PyTorch (where installed) and a plain vmap
# make soak    50 kills at random moments and damaged files; the table must not change
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
JOBS ?= 2

.PHONY: table web test bench soak clean

table: $(VENV)/installed
	@set -e; folder=$$($(RUN) -m experiments.elements_phase3 $(ARGS) | tail -n 1); \
	echo "The table: $$folder/report.html (figure: table.png, numbers: summary.csv)"

web: $(VENV)/installed
	$(RUN) -m experiments.web $(ARGS)

test: $(VENV)/installed
	$(RUN) -m ruff check --no-cache .
	$(RUN) -m ruff format --no-cache --check .
	$(RUN) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

bench: $(VENV)/installed
	$(RUN) -m experiments.bench_elements $(ARGS)

soak: $(VENV)/installed
	$(RUN) -m tests.soak $(ARGS)

clean:
	rm -rf $(VENV)

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

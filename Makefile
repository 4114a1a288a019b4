# Everything runs in .venv, which is made from requirements.lock and made anew when that changes.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ENVIRONMENT := .venv/complete
AUTHOR_ENVIRONMENT := .venv-author/complete
BENCH_ENVIRONMENT := .venv-bench/complete
RESULTS ?= benchmarks/results

.PHONY: dev demo test test-aws-conformance test-ui test-author-client test-decode-million test-replica-1000 \
	bench-embedded-aws bench-decode bench-replica bench-replica-matrix bench-replica-cycles bench-replica-opening \
	bench-names bench-replica-plots lint format lock clean
.DELETE_ON_ERROR:

dev: $(ENVIRONMENT) ## the embedded AWS, a demo table and the Dagster UI
	@exec $(BIN)/python -m ddb_lake.dev

demo: $(ENVIRONMENT) ## the same path without UI and without end: a day of windows, then a comparison
	@$(BIN)/python -m ddb_lake.demo

test: $(ENVIRONMENT) ## every test but the slow ones
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not million"

test-aws-conformance: $(ENVIRONMENT) ## ENDPOINT=http://… checks any endpoint, without it its own
	@$(BIN)/python -m ddb_lake_tests.conformance $(if $(ENDPOINT),--endpoint $(ENDPOINT)) $(OPTIONS)

test-ui: $(ENVIRONMENT) ## the slow tests: Dagster's daemon and API
	@$(BIN)/python -m pytest -m slow

test-author-client: $(ENVIRONMENT) $(AUTHOR_ENVIRONMENT) ## another client of exports, unmodified, on the embedded AWS
	@$(BIN)/python -m pytest ddb_lake_tests/author_client/checks.py

test-decode-million: $(ENVIRONMENT) ## a million random items, decoded, encoded and compared with boto3's reading
	@POLARS_MAX_THREADS=1 $(BIN)/python -m pytest -q -s -m million

bench-embedded-aws: $(ENVIRONMENT) ## the embedded AWS beside a plain moto server; JSON=FILE also writes the rows
	@$(BIN)/python benchmarks/embedded_aws.py $(if $(JSON),--json $(JSON))

bench-decode: $(ENVIRONMENT) $(BENCH_ENVIRONMENT) ## the decoder beside others; JSON=FILE also writes the rows, SCALE=0.1 is quick
	@$(BIN)/python benchmarks/decoding.py $(if $(JSON),--json $(JSON)) $(if $(SCALE),--scale $(SCALE)) $(OPTIONS)

test-replica-1000: $(ENVIRONMENT) ## a thousand histories of a replica, against a dictionary
	@DDB_LAKE_HISTORIES=$(or $(HISTORIES),1000) POLARS_MAX_THREADS=1 $(BIN)/python -m pytest -n auto --dist load \
		ddb_lake_tests/replica/test_state_machine.py

bench-replica: $(ENVIRONMENT) $(BENCH_ENVIRONMENT) ## one window by either strategy beside others; ROWS=… CHANGES=…, JSON=FILE also writes the rows
	@$(BIN)/python benchmarks/replica.py --rows $(or $(ROWS),1000000) --changes $(or $(CHANGES),10000) \
		$(if $(JSON),--json $(JSON)) $(OPTIONS)

bench-replica-matrix: $(ENVIRONMENT) $(BENCH_ENVIRONMENT) ## the same of 1, 5 and 20 million rows and on S3, into RESULTS; hours
	@mkdir -p $(RESULTS)
	@$(BIN)/python benchmarks/replica.py --rows 1000000 --changes 1000,10000,100000 --json $(RESULTS)/replica-1m.json
	@$(BIN)/python benchmarks/replica.py --rows 5000000 --changes 1000,10000,100000 --json $(RESULTS)/replica-5m.json
	@$(BIN)/python benchmarks/replica.py --rows 20000000 --changes 1000,10000,100000 --rounds 1 \
		--json $(RESULTS)/replica-20m.json
	@$(BIN)/python benchmarks/replica.py --rows 20000000 --rounds 5 \
		--contenders ddb_lake/deletion_vectors,delta-rs/merge --json $(RESULTS)/replica-20m-pair.json
	@$(BIN)/python benchmarks/replica.py --store s3 --json $(RESULTS)/replica-1m-s3.json

bench-replica-cycles: $(ENVIRONMENT) ## thousands of windows with folds; ROWS=… CHANGES=… WINDOWS=… JSON=FILE
	@$(BIN)/python benchmarks/replica_cycles.py --rows $(or $(ROWS),1000000) --changes $(or $(CHANGES),10000) \
		--windows $(or $(WINDOWS),150) $(if $(JSON),--json $(JSON)) $(OPTIONS)

bench-replica-opening: $(ENVIRONMENT) ## opening after many commits beside delta-rs; COMMITS=1000,35000 JSON=FILE
	@$(BIN)/python benchmarks/replica_opening.py $(if $(COMMITS),--commits $(COMMITS)) \
		$(if $(JSON),--json $(JSON)) $(OPTIONS)

bench-names: $(ENVIRONMENT) ## windows and bootstraps of tables of 200 to 50,000 attribute names; NAMES=… BOOTSTRAPS=… JSON=FILE
	@$(BIN)/python benchmarks/names.py $(if $(NAMES),--names $(NAMES)) $(if $(BOOTSTRAPS),--bootstraps $(BOOTSTRAPS)) \
		$(if $(JSON),--json $(JSON)) $(OPTIONS)

bench-replica-plots: $(BENCH_ENVIRONMENT) ## draws the matrix of RESULTS into docs/images
	@.venv-bench/bin/python benchmarks/replica_plots.py $(wildcard $(RESULTS)/replica-*m.json)

lint: $(ENVIRONMENT) ## ruff and pyright
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

format: $(ENVIRONMENT)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## resolve setup.cfg, requirements-author.in and requirements-bench.in into their locks anew
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/pip install --quiet uv
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
		--no-emit-index-url --custom-compile-command "make lock" setup.cfg --output-file requirements.lock
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" requirements-author.in \
		--output-file requirements-author.lock
	@build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" requirements-bench.in \
		--output-file requirements-bench.lock

clean:
	@rm -rf .venv .venv-author .venv-bench .dagster .dev .demo build *.egg-info

$(ENVIRONMENT): requirements.lock setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ddb_lake needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Name another by make PYTHON=python3.12 …")'
	@echo "Setting up .venv (about a minute) …"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m ddb_lake.decoding.warm
	@touch $@

$(AUTHOR_ENVIRONMENT): requirements-author.lock
	@echo "Setting up .venv-author …"
	@$(PYTHON) -m venv --clear .venv-author
	@.venv-author/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-author.lock
	@touch $@

$(BENCH_ENVIRONMENT): requirements-bench.lock
	@echo "Setting up .venv-bench …"
	@$(PYTHON) -m venv --clear .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-bench.lock
	@touch $@

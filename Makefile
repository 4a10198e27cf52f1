# Everything that is done with this checkout. `make help` lists it.

RUN = deploy/bootstrap.sh run
DEV = deploy/bootstrap.sh dev
PY = .venv/bin/python
# More than there are cores: the tests start servers of their own, and much of their time is waiting.
TESTERS := $(shell [ "$$(getconf _NPROCESSORS_ONLN)" -gt 3 ] && echo 5 || echo 3)
PYTEST = -m pytest -n $(TESTERS) --dist loadgroup
PACKAGES = jobs tasks worker schedules api deploy

.DEFAULT_GOAL := help
.PHONY: help run stop test check lint types arrow cover format bench chaos restore-drill audit clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run:  ## start everything; DETACH=1 in the background, BROKER=rabbitmq, WORKERS=n, DATABASE_URL=, BROKER_URL=
	@$(RUN)
	@exec $(PY) -m deploy.stack $(if $(DETACH),start,up)

stop:  ## end the stack that runs in the background
	@$(PY) -m deploy.stack stop

test:  ## every test, on real servers; T="-k word" narrows
	@$(DEV)
	$(PY) $(PYTEST) $(T)

check: lint types arrow cover  ## what CI asks for: lint, types, import arrow, tests with coverage

lint:
	@$(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types:
	@$(DEV)
	$(PY) -m mypy

arrow:
	@$(DEV)
	.venv/bin/lint-imports

cover:
	@$(DEV)
	$(PY) -m coverage erase
	$(PY) -m coverage run $(PYTEST) $(T)
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

format:  ## put the code into shape
	@$(DEV)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench:  ## measure against the usual hand-built stack; prints a table, writes .run/bench.json
	@$(DEV)
	$(PY) -m tests.bench

chaos:  ## the whole stack under load and faults, then a check; SEED=, MINUTES=3, BROKER=rabbitmq, PLAN=1
	@$(DEV)
	@exec $(PY) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(BROKER),--broker $(BROKER)) $(if $(RATE),--rate $(RATE)) $(if $(FAULTS),--faults-per-minute $(FAULTS)) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(PLAN),--plan) $(if $(KEEP),--keep)

restore-drill:  ## lose PostgreSQL and the broker under load, restore to a point in time, check; SEED=, SECONDS=30, BROKER=rabbitmq
	@$(DEV)
	@exec $(PY) -m tests.drill $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(BROKER),--broker $(BROKER)) $(if $(RATE),--rate $(RATE)) $(if $(PLANT),--plant $(PLANT))

audit:  ## advisories, security rules, secrets, SBOM, workflows; STRICT=1 wants every answer, PAGE=1 writes the page
	@$(DEV)
	@exec $(PY) -m tests.audit $(if $(STRICT),--strict) $(if $(PAGE),--page)

clean:  ## remove the stack's state, the environment and every cache
	@if [ -x $(PY) ]; then $(PY) -m deploy.stack purge; fi
	rm -rf .venv .boot .run build *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

# `make demo` and `make test` install what they need; the others take it as given.
PYTHON := .venv/bin/python
PREFIX := /opt/mailnotary
SOURCES := milter tests config
PLATFORMS := bookworm trixie noble forky  # Python 3.11, 3.13, 3.12, 3.14

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest test-newest check lock coverage lint format rooms bench compare fuzz install uninstall deb man test-image chaos soak cost test-changeover test-deb test-systemd test-sendmail test-platforms clean setup

help:  ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo:  ## see mailnotary work: five messages and what becomes of each
	@tests/bootstrap.sh run
	@PYTHONPATH=tests $(PYTHON) -m demo

test: setup  ## the whole test suite, real Postfix included
	$(run-tests)

test-oldest: setup  ## the same with the lowest version of every range in pyproject.toml, on the oldest Python
	tests/versions.sh oldest build/oldest
	$(run-tests)

test-newest: setup  ## the same with the newest version of everything; prints what is new since the lock
	tests/versions.sh newest build/newest
	$(run-tests)

test-oldest: PYTHON := build/oldest/bin/python
test-newest: PYTHON := build/newest/bin/python

ifeq ($(shell id -u),0)
run-tests = $(PYTHON) -m pytest
else  # a Postfix of one's own and acting as another user take root
define run-tests
$(PYTHON) -m pytest -m "not mta and not root"
sudo env PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -p no:cacheprovider -m "mta or root"
endef
endif

lock: setup  ## renew config/lock.txt: the Python packages that the others install, each with its hashes
	tests/versions.sh lock

check: lint test  ## format, lint, types, tests

lint: setup  ## format, lint, types, spelling and words alone
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib $(SOURCES) systemd *.md
	$(PYTHON) -m pytest -q tests/unit/test_words.py

coverage: setup  ## which lines no unit test reaches
	$(PYTHON) -m pytest -q tests/unit tests/conformance tests/fuzz --cov --cov-report=term-missing:skip-covered

format: setup  ## put the sources into their form
	$(PYTHON) -m ruff format $(SOURCES)
	$(PYTHON) -m ruff check --fix $(SOURCES)

rooms: setup  ## draw the rooms and the exceptions into ARCHITECTURE.md
	PYTHONPATH=tests $(PYTHON) -m support.rooms

bench: setup  ## measure the hot paths, then the daemon, beside its peers where they are installed; plots in build/bench
	$(PYTHON) -m pytest tests/bench -o addopts='--import-mode=importlib' -o python_files='bench_*.py'
	PYTHONPATH=tests $(PYTHON) -m bench.throughput
	PYTHONPATH=tests $(PYTHON) -m bench.plots build/bench
	PYTHONPATH=tests $(PYTHON) -m bench.start
	PYTHONPATH=tests $(PYTHON) -m bench.history --messages 1000000
	PYTHONPATH=tests $(PYTHON) -m bench.reports

compare: setup  ## compare the speed of this tree with that of a commit: make compare BASE=HEAD~1 [ONLY="verify 4"]
	PYTHONPATH=tests $(PYTHON) -m bench.compare $(or $(BASE),HEAD) --only "$(ONLY)"

fuzz: setup  ## a minute of fuzzing for each target
	@$(PYTHON) -m pip install --quiet atheris
	@for target in tests/fuzz/fuzz_*.py; do \
		echo "== $$target"; \
		PYTHONPATH=tests $(PYTHON) $$target -max_total_time=60 -rss_limit_mb=1024 || exit 1; \
	done

install:  ## install on this machine, or renew: /opt/mailnotary, /etc/mailnotary, the service (root)
	systemd/install.sh install $(PREFIX)

uninstall:  ## remove what `make install` installed; with PURGE=yes the configuration, too (root)
	PURGE=$(PURGE) systemd/install.sh uninstall $(PREFIX)

deb:  ## Debian's package, for Debian 12 and later, into build/deb; ARCH=arm64 for another architecture
	@tests/bootstrap.sh deb
	@config/debian/build.sh $(PYTHON) $(ARCH)

man:  ## the manual pages, into build/man
	@$(PYTHON) config/man.py build/man

chaos:  ## a minute of load while workers die, configurations break and DNS goes away
	$(PYTHON) tests/chaos/chaos.py 60

soak:  ## 200,000 messages: memory and descriptors
	$(PYTHON) tests/chaos/soak.py 200000

cost: setup  ## look for ten minutes for the message that costs the most CPU
	PYTHONPATH=tests $(PYTHON) tests/chaos/cost.py 600

test-image:  ## build the container image and prove it (docker or podman; else tests/image/test.sh says how)
	tests/image/test.sh

test-systemd:  ## prove the service in a booted systemd, with the system's Postfix (tests/box.sh says what it needs)
	tests/box.sh systemd $(SUITE)

test-deb: deb  ## prove Debian's package in booted boxes: installed, upgraded under load, carried over to Debian 13, removed
	@for suite in $(or $(SUITE),bookworm trixie); do \
		echo "== $$suite"; \
		tests/box.sh deb $$suite || exit 1; \
	done

test-changeover: deb  ## prove the way from OpenDKIM, OpenDMARC and policyd-spf to that package and back, in booted boxes
	@for suite in $(or $(SUITE),bookworm trixie); do \
		echo "== $$suite"; \
		tests/box.sh changeover $$suite || exit 1; \
	done

test-sendmail:  ## the mail tests with the system's Sendmail, in a box of its own
	tests/box.sh sendmail $(SUITE)

test-platforms:  ## demo, tests and service on each platform, in booted boxes
	@failed=; for suite in $(PLATFORMS); do for what in bare systemd; do \
		echo "== $$suite: $$what"; \
		tests/box.sh $$what $$suite || failed="$$failed $$suite:$$what"; \
	done; done; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

clean:  ## remove what was built, the environment included
	rm -rf .venv build dist milter/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

setup:  ## install what development needs, and nothing else
	@tests/bootstrap.sh test

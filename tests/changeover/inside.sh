#!/bin/bash
# In the box: installs the filters that an admin comes from, and leaves everything else to the tests.
. /src/tests/support/inside.sh
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -q -o Dpkg::Use-Pty=0 install --yes --no-install-recommends \
	opendkim opendkim-tools opendmarc dbconfig-no-thanks postfix-policyd-spf-python publicsuffix </dev/null
tests/bootstrap.sh pytest
.venv/bin/python -m pytest -v -s -x -o addopts="--import-mode=importlib --strict-markers" -p no:cacheprovider \
	tests/changeover/change_over_in_box.py

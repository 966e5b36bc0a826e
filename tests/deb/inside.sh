#!/bin/bash
# In the box: installs the package that `make deb` built, and leaves its configuration, the services and the mail to the
# tests.
. /src/tests/support/inside.sh
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
(umask 077; apt-get -q -o Dpkg::Use-Pty=0 install --yes /src/build/deb/*.deb) </dev/null
tests/bootstrap.sh pytest
.venv/bin/python -m pytest -v -s -o addopts="--import-mode=importlib --strict-markers" -p no:cacheprovider \
	tests/deb/package_in_box.py

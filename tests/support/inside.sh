# What the inside of each box begins with; sourced by its inside.sh. The tests' packages have an environment of their
# own, so that the service's is as `make install` left it.
set -euo pipefail
cd /src
[[ $EUID -eq 0 && -d /run/systemd/system ]] || { echo "$0: needs root and a systemd that has booted" >&2; exit 2; }

run_tests() {  # run_tests FILE
	python3 -m venv /opt/tests
	echo /opt/mailnotary/lib/python3.11/site-packages >/opt/tests/lib/python3.11/site-packages/mailnotary.pth
	/opt/tests/bin/pip install --quiet --disable-pip-version-check pytest hypothesis dkimpy pynacl
	/opt/tests/bin/python -m pytest -v -s -o addopts="--import-mode=importlib --strict-markers" -p no:cacheprovider "$1"
}

# What the inside of each box begins with; sourced by its inside.sh.
set -euo pipefail
cd /src
[[ $EUID -eq 0 && -d /run/systemd/system ]] || { echo "$0: needs root and a systemd that has booted" >&2; exit 2; }

# The tests' packages are in .venv, so that the service's environment is as `make install` left it. mailnotary itself
# they take from there.
run_tests() {  # run_tests FILE
	PYTHONPATH=$(echo /opt/mailnotary/lib/python3.*/site-packages) .venv/bin/python -m pytest -v -s \
		-o addopts="--import-mode=importlib --strict-markers" -p no:cacheprovider "$1"
}

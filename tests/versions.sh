#!/bin/bash
# The versions of the Python packages that mailnotary is installed and tested with.
#
#   tests/versions.sh lock            write config/lock.txt and tests/parsedmarc.txt anew: the newest versions, with hashes
#   tests/versions.sh oldest DIR      an environment in DIR with the lowest version of every range in pyproject.toml
#   tests/versions.sh newest DIR      an environment in DIR with the newest ones; prints what is new since the lock
#
# config/lock.txt has sections: `build` (what builds source packages), `run`, `openssl`, `web`, `dev`. The last are named
# for the extra that asks for their packages; each builds on those before it. It is in config/, since that alone is
# in the image's build too. Its versions serve every Python from the oldest of pyproject.toml on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LOCK=config/lock.txt
UV=build/uv/bin/uv
export UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never

install_uv() {  # which resolves for all Pythons at once, what pip can't, and asks for the lowest versions
	[[ -x $UV ]] || { .venv/bin/python -m venv build/uv && build/uv/bin/pip install --quiet --disable-pip-version-check uv; }
}

compile() {  # compile SOURCE [OPTION...]: the pinned requirements of SOURCE
	"$UV" pip compile --quiet --universal --python-version "$(sed -n 's/^requires-python = ">=\(.*\)"/\1/p' pyproject.toml)" \
		--generate-hashes --no-header --no-annotate "$@"
}

names() { sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$@"; }

section() {  # section NAME SOURCE [OPTION...]: what SOURCE asks for beyond the sections that were written before
	local name=$1 omit
	shift
	mapfile -t omit < <(names "$parts")
	echo "# == $name"
	compile "$@" --constraints "$all" "${omit[@]/#/--no-emit-package=}"
}

write_lock() {
	all=$(mktemp) parts=$(mktemp)
	trap 'rm -f "$all" "$parts"' EXIT
	compile pyproject.toml --extra openssl --extra dev >"$all"  # so that the sections agree with one another
	section run pyproject.toml >>"$parts"
	section openssl pyproject.toml --extra openssl >>"$parts"
	section web pyproject.toml --extra openssl --extra web >>"$parts"
	section dev pyproject.toml --extra dev >>"$parts"
	{
		echo "# Written by \`make lock\`: do not edit. What its sections are, tests/versions.sh says."
		echo "# == build"
		compile - --constraints "$all" <<<setuptools
		cat "$parts"
	} >"$LOCK"
	{
		echo "# Written by \`make lock\`: a reader of DMARC reports that other people use, for tests, in an environment of its own."
		compile - <<<parsedmarc
	} >tests/parsedmarc.txt
}

environment() {  # environment DIR [OPTION...]: always a new one, so that nothing stays of what was there
	local dir=$1
	shift
	rm -rf "$dir"
	tests/bootstrap.sh build "$dir"
	"$UV" pip install --quiet --python "$dir/bin/python" "$@" --editable '.[openssl,dev]'
}

news() {  # what of the versions on standard input is not in the lock file; setuptools and pip come with the environment
	awk -F '==|[ \\\\]' -v lock="$LOCK" '
		BEGIN { printf "new since %s:", lock }
		NR == FNR { if (/^[a-z]/) locked[$1] = $2; next }
		$1 !~ /^(pip|setuptools)$/ && locked[$1] != $2 {
			printf "\n  %-20s %s -> %s", $1, (locked[$1] ? locked[$1] : "none"), $2
			new = 1
		}
		END { print new ? "" : " nothing" }' "$LOCK" -
}

case ${1:-}:${2:+dir} in
lock:)
	install_uv
	write_lock ;;
oldest:dir)
	install_uv
	oldest=$(mktemp)
	trap 'rm -f "$oldest"' EXIT
	sed -n 's/^requires = \["\(.*\)>=\(.*\)"\].*/\1==\2/p' pyproject.toml >"$oldest"
	environment "$2" --resolution lowest-direct --build-constraints "$oldest" ;;
newest:dir)
	install_uv
	environment "$2"
	"$UV" pip freeze --quiet --python "$2/bin/python" --exclude-editable | tr 'A-Z_' 'a-z-' | news ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

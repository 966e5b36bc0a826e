#!/bin/bash
# Installs what is missing to work with this tree on Debian: packages, and a virtual environment in .venv.
#
#   tests/bootstrap.sh build DIR   an environment in DIR into which mailnotary can be installed
#   tests/bootstrap.sh install DIR that, with mailnotary and what it needs in it
#   tests/bootstrap.sh run         what the daemon and the demo need
#   tests/bootstrap.sh deb         that, and what Debian's package is built with
#   tests/bootstrap.sh pytest      the Python packages of the test suite alone
#   tests/bootstrap.sh test        what the test suite needs
#
# Python packages are those of config/lock.txt, with their hashes; what they are built with is, too.
# pymilter is C: Debian's python3-milter is taken where it serves, and else a compiler to build it.
# Says nothing and takes a moment where all is there. Packages need root or sudo. No service is started, no
# configuration is made, and no package is removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
POLICY=/usr/sbin/policy-rc.d
SUITES=$VENV/suites
PYMILTER=$(sed -n 's/.*"pymilter>=\([0-9.]*\)".*/\1/p' pyproject.toml)  # the oldest that serves

say() { printf '\033[2m-- %s\033[0m\n' "$*" >&2; }
die() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }

as_root() {
	if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

missing() {  # those of the named Debian packages that are not installed
	local name
	for name; do
		[[ $(dpkg-query -Wf '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
	done
}

version() {  # of a Debian package: the installed one's, or else of the one that apt would install
	LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  \(Installed\|Candidate\): \([^(].*\)/\2/p' | head -1
}

newer() { dpkg --compare-versions "$(version "$1")" ge "$2"; }  # newer PACKAGE VERSION: that or newer

serves() {  # serves PYTHON [dev]: whether it is new enough and makes environments [and extension modules]
	"$1" - "${2:-}" 2>/dev/null <<-'E'
		import ensurepip, os, sys, sysconfig, venv
		header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
		sys.exit(sys.version_info < (3, 11) or sys.argv[1] == "dev" and not os.path.exists(header))
	E
}

find_python() {  # with which pymilter can be built: the system's, which the daemon will run with, before others
	local python
	for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
		serves "$python" dev && { command -v "$python"; return; }
	done
	return 1
}

has_environment() { "$VENV/bin/python" -c 'import milter, pip' 2>/dev/null; }

# Sets `python`, what the environment is made with, and `packages`, what Debian has to install for it. Debian's
# pymilter serves Debian's Python alone: on a machine that has only another Python, pymilter is built for that.
choose_python() {
	python=/usr/bin/python3 packages=()
	! has_environment || return 0
	[[ ! -e /usr/bin/apt-get ]] || compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || apt update
	if { [[ -x $python ]] || ! find_python >/dev/null; } && newer python3 3.11 && newer python3-milter "$PYMILTER"; then
		packages=(python3 python3-milter python3-venv)
		say "pymilter: Debian's python3-milter $(version python3-milter): no compiler is needed"
	else
		packages=(gcc libc6-dev libmilter-dev)
		python=$(find_python) || { python=/usr/bin/python3; packages+=(python3 python3-dev python3-venv); }
		say "pymilter: to be built for $python, which no python3-milter of Debian serves"
	fi
}

forbid_services() {  # until this script ends, packages start none when they are installed (invoke-rc.d(8))
	[[ ! -e $POLICY ]] || return 0
	printf '#!/bin/sh\nexit 101\n' | as_root install -m755 /dev/stdin "$POLICY"
	trap 'rm -f "$log" "$requirements"; as_root rm -f "$POLICY"' EXIT
}

install_packages() {
	local wanted
	wanted=$(missing "$@")
	[[ -n $wanted ]] || return 0
	command -v apt-get >/dev/null || die "this is not Debian: install by hand what these packages hold:" $wanted
	[[ $EUID -eq 0 ]] || command -v sudo >/dev/null || die "as root: apt-get install" $wanted
	say "installing" $wanted
	[[ $wanted != *postfix* ]] ||  # Debian's Postfix does not start at boot either while it is not configured
		echo "postfix postfix/main_mailer_type select No configuration" | as_root debconf-set-selections
	forbid_services
	local install=(install --yes --no-install-recommends --no-remove $wanted)
	if ! apt "${install[@]}" >"$log" 2>&1 </dev/null; then
		apt update  # the lists may be older than the archive, or not be there
		apt "${install[@]}" >"$log" 2>&1 </dev/null || { tail -20 "$log" >&2; die "apt-get could not install" $wanted; }
	fi
	[[ -e /usr/bin/systemctl ]] || return 0
	[[ $wanted != *opendkim* ]] || as_root systemctl --quiet disable opendkim
	[[ $wanted != *opendmarc* ]] || as_root systemctl --quiet disable opendmarc
	[[ $wanted != *postgresql* ]] || as_root systemctl --quiet disable postgresql
	[[ $wanted != *mariadb* ]] || as_root systemctl --quiet disable mariadb
	[[ $wanted != *prometheus* ]] || as_root systemctl --quiet disable prometheus
	[[ $'\n'$wanted$'\n' != *$'\n'bind9$'\n'* ]] || as_root systemctl --quiet disable named
	[[ $wanted != *knot* ]] || as_root systemctl --quiet disable knot
	[[ $wanted != *spamassassin* ]] || as_root systemctl --quiet disable spamassassin-maintenance.timer
}

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"
}

browser() {  # Debian's Chromium; Ubuntu has browsers only as snaps, see tests/conftest.py
	grep -q '^ID=ubuntu' /etc/os-release || echo chromium
}

make_environment() {  # an empty one, with Debian's pymilter alone of all that Debian's Python has
	! has_environment || return 0
	"$python" -m venv --clear "$VENV"
	[[ " ${packages[*]} " != *" python3-milter "* ]] || ln -sfn -t "$("$VENV/bin/python" -c \
		'import sysconfig; print(sysconfig.get_path("platlib"))')" /usr/lib/python3/dist-packages/{Milter,milter.*.so,pymilter-*}
}

pip() {
	"$VENV/bin/python" -m pip --quiet --disable-pip-version-check "$@" >"$log" 2>&1 ||
		{ tail -20 "$log" >&2; die "pip could not $1 what $VENV needs"; }
}

locked() {  # locked LAST: the lock file up to its section LAST; without pymilter where Debian's is there
	awk -v last="$1" -v debian="$("$VENV/bin/python" -c 'import milter, os; print(os.path.realpath(milter.__file__))' \
		2>/dev/null)" '
		/^# == / { if (end) exit; end = $3 == last }
		/^[^ ]/ { omit = /^pymilter==/ && debian ~ "^/usr/lib/python3/" }
		!omit' config/lock.txt
}

# install_locked LAST TREE...: first what builds packages, then packages, then this tree. pip resolves nothing: the lock
# is whole, and `pip check` finds out where it is older than pyproject.toml.
install_locked() {
	local section install=(install --no-compile --no-deps --no-build-isolation --use-pep517)
	say "installing Python packages into $VENV"
	for section in build "$1"; do
		locked "$section" >"$requirements"
		pip "${install[@]}" --require-hashes --requirement "$requirements"
	done
	pip "${install[@]}" "${@:2}"
	pip check
}

install_mailnotary() {  # install_mailnotary LAST: in editable form, once for each state of what says what is needed
	local stamp=$VENV/.installed-$1 state
	state=$(cat pyproject.toml config/lock.txt | sha256sum)
	"$VENV/bin/python" -c 'import mailnotary' 2>/dev/null &&
		[[ $(cat "$stamp" "$VENV/.installed-dev" 2>/dev/null) == *"$state"* ]] && return
	install_locked "$1" --editable .
	echo "$state" >"$stamp"
}

fetch_suites() {  # what tests/support/suites.py takes where there are no others: they are in source packages
	local sdist=$VENV/sdist
	[[ ! $SUITES -nt tests/suites.txt ]] || return 0
	say "fetching the public test suites of SPF and DKIM"
	pip download --no-deps --no-binary :all: --no-build-isolation --require-hashes --dest "$sdist" --requirement tests/suites.txt
	mkdir -p "$sdist/suites/spf" "$sdist/suites/dkim/dkimpy"
	tar -xzf "$sdist"/pyspf-*.tar.gz -C "$sdist/suites/spf" --strip-components=2 --wildcards '*/test/rfc7208-tests.*'
	tar -xzf "$sdist"/dkimpy-*.tar.gz -C "$sdist/suites/dkim/dkimpy" --strip-components=1 --wildcards '*/LICENSE'
	tar -xzf "$sdist"/dkimpy-*.tar.gz -C "$sdist/suites/dkim/dkimpy" --strip-components=4 --wildcards '*/dkim/tests/data/*.*'
	rm -rf "$SUITES"
	mv "$sdist/suites" "$SUITES"
	rm -r "$sdist"
}

install_parsedmarc() (  # which has requirements of its own, and so an environment
	[[ ! $VENV/parsedmarc/ready -nt tests/parsedmarc.txt ]] || return 0
	locked build >"$requirements"
	VENV=$VENV/parsedmarc
	say "installing parsedmarc into $VENV"
	"${VENV%/*}/bin/python" -m venv --clear "$VENV"
	for file in "$requirements" tests/parsedmarc.txt; do
		pip install --no-compile --no-deps --no-build-isolation --use-pep517 --require-hashes --requirement "$file"
	done
	touch "$VENV/ready"
)

log=$(mktemp) requirements=$(mktemp)
trap 'rm -f "$log" "$requirements"' EXIT

case ${1:-} in
build)
	VENV=${2:?which directory?}
	choose_python
	install_packages "${packages[@]}"
	make_environment ;;
install)
	VENV=${2:?which directory?}
	choose_python
	install_packages "${packages[@]}"
	make_environment
	rm -rf build/lib  # setuptools would install what is still there and no longer in the sources
	install_locked web . ;;
run)
	choose_python
	install_packages "${packages[@]}"
	make_environment
	install_mailnotary run ;;
deb)
	choose_python
	install_packages "${packages[@]}" binutils-aarch64-linux-gnu binutils-x86-64-linux-gnu build-essential debhelper lintian
	make_environment
	install_mailnotary run ;;
pytest)
	choose_python
	install_packages "${packages[@]}"
	make_environment
	install_mailnotary dev ;;
test)
	choose_python
	install_packages "${packages[@]}" $(browser) bind9 bind9-utils dbconfig-no-thanks debconf e2fsprogs fish git groff-base \
		knot libmail-authenticationresults-perl libxml2-utils mariadb-server opendkim opendkim-tools opendmarc openssl \
		postfix postfix-policyd-spf-python postgresql prometheus spamassassin zsh
	make_environment
	install_mailnotary dev
	install_parsedmarc
	[[ -n ${MAILNOTARY_SUITES:-} || -d ../shared/suites ]] || fetch_suites ;;
*) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

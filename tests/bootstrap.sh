#!/bin/bash
# Installs what is missing to work with this tree on Debian: packages, and a virtual environment in .venv.
#
#   tests/bootstrap.sh build   the Debian packages to build with
#   tests/bootstrap.sh run     what the daemon and the demo need
#   tests/bootstrap.sh test    that, and what the test suite needs
#
# Says nothing and takes a moment where all is there. Packages need root or sudo. No service is started, no
# configuration is made, and no package is removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
POLICY=/usr/sbin/policy-rc.d
PYSPF=2.0.14  # its source package carries the public test suite of RFC 7208

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

# A Python with which an extension module can be built and an environment made: the system's, which the daemon will
# run with, before others.
find_python() {
	local python
	for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
		"$python" - 2>/dev/null <<-'E' && { command -v "$python"; return; }
			import ensurepip, os, sys, sysconfig, venv
			sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))
		E
	done
	return 1
}

forbid_services() {  # until this script ends, packages start none when they are installed (invoke-rc.d(8))
	[[ ! -e $POLICY ]] || return 0
	printf '#!/bin/sh\nexit 101\n' | as_root install -m755 /dev/stdin "$POLICY"
	trap 'rm -f "$log"; as_root rm -f "$POLICY"' EXIT
}

install_packages() {
	local wanted
	wanted=$(missing "$@")
	[[ -n $wanted ]] || return 0
	command -v apt-get >/dev/null || die "this is no Debian; install by hand what these packages hold:" $wanted
	[[ $EUID -eq 0 ]] || command -v sudo >/dev/null || die "as root: apt-get install" $wanted
	say "installing" $wanted
	[[ $wanted != *postfix* ]] ||  # Debian's Postfix does not start at boot either while it is not configured
		echo "postfix postfix/main_mailer_type select No configuration" | as_root debconf-set-selections
	forbid_services
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0)
	local install=("${apt[@]}" install --yes --no-install-recommends --no-remove $wanted)
	compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null || as_root "${apt[@]}" update
	if ! as_root "${install[@]}" >"$log" 2>&1 </dev/null; then
		as_root "${apt[@]}" update  # the lists may be older than the archive
		as_root "${install[@]}" >"$log" 2>&1 </dev/null || { tail -20 "$log" >&2; die "apt-get could not install" $wanted; }
	fi
	[[ $wanted != *opendkim* || ! -e /usr/bin/systemctl ]] || as_root systemctl --quiet disable opendkim
}

make_environment() {  # make_environment [EXTRA]: the package in editable form, once for each state of pyproject.toml
	local stamp=$VENV/.installed${1:+-$1} state
	state=$(sha256sum <pyproject.toml)
	"$VENV/bin/python" -c 'import mailnotary' 2>/dev/null && [[ $(cat "$stamp" 2>/dev/null) == "$state" ]] && return
	say "installing Python packages into $VENV"
	"$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$(find_python)" -m venv --clear "$VENV"
	"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --editable ".${1:+[$1]}" >"$log" 2>&1 ||
		{ tail -20 "$log" >&2; die "pip could not install mailnotary and what it needs"; }
	echo "$state" >"$stamp"
}

fetch_suites() {  # for .venv/suites, which the Makefile names where there are no others: the SPF suite
	[[ ! -e $VENV/suites/spf/rfc7208-tests.yml ]] || return 0
	say "fetching the RFC 7208 test suite"
	local sdist=$VENV/sdist
	"$VENV/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
		--dest "$sdist" "pyspf==$PYSPF" >"$log" 2>&1 || { tail -20 "$log" >&2; die "pip could not fetch pyspf"; }
	mkdir -p "$VENV/suites/spf"
	tar -xzf "$sdist/pyspf-$PYSPF.tar.gz" -C "$VENV/suites/spf" --strip-components=2 --wildcards '*/test/rfc7208-tests.*'
	rm -r "$sdist"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

packages=(gcc libc6-dev libmilter-dev)
[[ ${1:-} != build ]] && find_python >/dev/null || packages+=(python3 python3-dev python3-venv)
case ${1:-} in
build)
	install_packages "${packages[@]}" ;;
run)
	install_packages "${packages[@]}"
	make_environment ;;
test)
	install_packages "${packages[@]}" debconf fish git groff-base opendkim opendkim-tools openssl postfix zsh
	make_environment dev
	[[ ${MAILNOTARY_SUITES:-} != "$PWD/$VENV/suites" ]] || fetch_suites ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

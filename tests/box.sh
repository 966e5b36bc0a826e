#!/bin/bash
# Boots a Debian or Ubuntu with systemd in a container, and tests this tree there.
#
#   tests/box.sh bare [SUITE]      what a stranger does first, on a bare system: `make demo`, `make test`
#   tests/box.sh systemd [SUITE]   the service as `make install` sets it up, with the system's Postfix
#   tests/box.sh deb [SUITE]       Debian's package that `make deb` built, with the system's Postfix
#   tests/box.sh changeover [SUITE]  from OpenDKIM, OpenDMARC and policyd-spf to that package, and back
#   tests/box.sh sendmail [SUITE]  the mail tests with the system's Sendmail, which can't be installed beside a Postfix
#
# SUITE is the release, see tests/support/nspawn.sh, which boots it; the default is Debian 12, bookworm.
# SYSTEMD_BOX names another program that does: `$SYSTEMD_BOX SCRIPT DIR` copies DIR to /src in a fresh container with
# systemd and the packages of $BOX_PACKAGES, runs SCRIPT there as root, and has its output and exit status.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
bare) packages= ;;
changeover | deb | systemd | sendmail) packages=postfix ;;  # Sendmail can only be installed once it has booted, and takes its place
*) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

if [[ -n $packages ]]; then  # one at a time: boxes share the host's network, in which these want the same ports
	exec 9>/run/lock/mailnotary-box
	flock 9
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -c --exclude-vcs --exclude=./.venv --exclude=./build --exclude=__pycache__ --exclude='./.*_cache' --exclude=./.hypothesis . |
	tar -xC "$copy"
[[ $1 != deb && $1 != changeover ]] || install -Dm644 -t "$copy/build/deb" build/deb/mailnotary_*_"$(dpkg --print-architecture)".deb
BOX_SUITE=${2:-bookworm} BOX_PACKAGES="make ca-certificates $packages" BOX_S=${BOX_S:-1800} \
	"${SYSTEMD_BOX:-tests/support/nspawn.sh}" "tests/$1/inside.sh" "$copy"

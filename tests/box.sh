#!/bin/bash
# Boots a Debian 12 with systemd in a container, installs mailnotary in it as the README says, and tests it there.
#
#   tests/box.sh systemd     the service, with Debian's Postfix
#   tests/box.sh sendmail    the mail tests with Debian's Sendmail, which can't be installed beside a Postfix
#
# SYSTEMD_BOX names a program that boots such a container: `$SYSTEMD_BOX SCRIPT DIR` copies DIR to /src in a fresh one,
# with the Debian packages of $BOX_PACKAGES installed, runs SCRIPT there as root, and has its output and exit status.
# Without one: as root on a Debian 12 that is for nothing else, with this tree in /src, run tests/systemd/inside.sh
# or tests/sendmail/inside.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
systemd | sendmail) ;;
*) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
[[ -n ${SYSTEMD_BOX:-} ]] || { echo "SYSTEMD_BOX is not set: $0 says what it is for" >&2; exit 2; }

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -c --exclude-vcs --exclude=./.venv --exclude=__pycache__ --exclude='./.*_cache' --exclude=./.hypothesis . | tar -xC "$copy"
# Debian's Sendmail can only be installed in a system that has booted, where it takes Postfix's place.
BOX_PACKAGES="postfix python3 python3-dev python3-venv gcc libc6-dev libmilter-dev make ca-certificates" \
	BOX_S=${BOX_S:-900} "$SYSTEMD_BOX" "tests/$1/inside.sh" "$copy"

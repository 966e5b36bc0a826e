#!/bin/bash
# Builds the Debian package, for Debian 12 and everything later, and prints its file's name,
# build/deb/mailnotary_VERSION-1_ARCH.deb.
#
#   config/debian/build.sh PYTHON [ARCH]   PYTHON has what mailnotary needs; ARCH is amd64, arm64 (default: this machine's)
#
# Debian's own packages are taken where those of Debian 12 are new enough (debian/control names the versions). What is
# not, pycryptodome, comes as its authors built it, from config/lock.txt, and lies beside mailnotary in a directory of
# its own. It serves every later Python as well (abi3, PEP 384), so that an upgrade of Debian carries the package over.
# Needs the packages debhelper and lintian, for another architecture also its binutils.
set -euo pipefail
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=$1 arch=${2:-$(dpkg --print-architecture)}
declare -A MACHINE=([amd64]=x86_64 [arm64]=aarch64)
machine=${MACHINE[$arch]:?"there is no wheel of pycryptodome for this architecture"}
version=$("$python" -c 'import mailnotary; print(mailnotary.__version__)')-1
tree=build/deb/$arch

fetch_pycryptodome() {  # into a directory
	local pins
	pins=$(mktemp)
	awk '/^[^ ]/ { wanted = /^pycryptodome==/ } wanted' config/lock.txt >"$pins"
	"$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		--implementation cp --abi abi3 --python-version 3.11 --platform "manylinux2014_$machine" \
		--dest "$tree/wheel" --requirement "$pins" >&2
	"$python" -m zipfile -e "$tree"/wheel/pycryptodome-*.whl "$1"
	rm -r "$pins" "$tree/wheel" "$1/Crypto/SelfTest"
	find "$1" -name '*.pyi' -delete
	chmod -R u=rwX,go=rX "$1"
}

lay_out() {
	local kind
	mkdir -p "$tree"/{bin,lib,config} "$tree"/completion/{bash,zsh,fish}
	cp -r config/debian "$tree/debian"
	cp README.md CHANGELOG.md SECURITY.md "$tree"
	cp -r config/{*.yaml,*.json,*.md,examples,sendmail} "$tree/config"
	cp -r milter/mailnotary "$tree/lib"
	find "$tree" -name __pycache__ -prune -exec rm -r {} +
	fetch_pycryptodome "$tree/lib"
	install -m755 config/debian/mailnotary.launcher "$tree/bin/mailnotary"
	for kind in service sysusers tmpfiles; do
		cp "systemd/mailnotary.$kind" "$tree/debian"
	done
	cp systemd/mailnotary-web.service "$tree/debian/mailnotary.mailnotary-web.service"
	for kind in service timer; do
		cp "systemd/mailnotary-reports.$kind" "$tree/debian/mailnotary.mailnotary-reports.$kind"
		cp "systemd/mailnotary-rotate.$kind" "$tree/debian/mailnotary.mailnotary-rotate.$kind"
	done
	"$python" config/man.py "$tree/man" >/dev/null
	"$python" -m mailnotary completion bash >"$tree/completion/bash/mailnotary"
	"$python" -m mailnotary completion zsh >"$tree/completion/zsh/_mailnotary"
	"$python" -m mailnotary completion fish >"$tree/completion/fish/mailnotary.fish"
	changelog >"$tree/debian/changelog"
}

changelog() {  # of this version: what is in it, CHANGELOG.md says
	local date
	date=$(git log -1 --format=%cD 2>/dev/null || date -R -r CHANGELOG.md)
	cat <<-E
		mailnotary ($version) unstable; urgency=medium

		  * What is new, /usr/share/doc/mailnotary/CHANGELOG.md.gz says.

		 -- $(sed -n 's/^Maintainer: //p' config/debian/control)  $date
	E
}

build() {
	local options=(--build=binary --unsigned-changes)
	# Nothing is compiled, so that no compiler for it is needed.
	[[ $arch == "$(dpkg --print-architecture)" ]] || options+=(--host-arch "$arch" --no-check-builddeps)
	(cd "$tree" && dpkg-buildpackage "${options[@]}") >"$tree.log" 2>&1 || { tail -30 "$tree.log" >&2; exit 1; }
}

file=build/deb/mailnotary_${version}_$arch.deb
rm -rf "$tree" build/deb/mailnotary_*_"$arch".*
lay_out
build
rm -r "$tree" "${file%.deb}".{buildinfo,changes}
lintian --allow-root --fail-on error,warning "$file" >&2
echo "$file"

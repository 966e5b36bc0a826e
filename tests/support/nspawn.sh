#!/bin/bash
# Boots a fresh Debian or Ubuntu with a real systemd in a container, and runs one script in it as root.
#
#   tests/support/nspawn.sh SCRIPT DIR   DIR is copied to /src inside; the script, a path in DIR, is run there; its
#                                        output is printed, its exit status is this command's
#
# BOX_SUITE      the release: a suite of Debian, or `noble` of Ubuntu (default: bookworm)
# BOX_PACKAGES   the packages it has beside systemd
# BOX_S          seconds that the run may take (default: 900)
# BOX_DIR        where the systems lie (default: /var/tmp/mailnotary-boxes); one for each suite and list of packages is
#                kept and copied
#
# Needs root, and the packages debootstrap and systemd-container. The box shares the host's network.
set -euo pipefail
[[ $# -eq 2 ]] || { sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2; }
suite=${BOX_SUITE:-bookworm} boxes=${BOX_DIR:-/var/tmp/mailnotary-boxes}
packages="systemd systemd-sysv dbus ${BOX_PACKAGES:-}"
base=$boxes/$suite-$(sha256sum <<<"$packages" | cut -c1-8) box=$boxes/box.$$

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 125; }

[[ $EUID -eq 0 ]] || die "needs root"
for name in debootstrap systemd-nspawn; do
	command -v "$name" >/dev/null || die "there is no $name: apt-get install debootstrap systemd-container"
done

ubuntu_keyring() {  # Debian 12 has none; this is Ubuntu's own package, known by its hash
	local deb=$boxes/ubuntu-keyring.deb
	curl -sSf -o "$deb" "$mirror/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb"
	sha256sum --quiet --check <<<"36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8  $deb"
	dpkg-deb --fsys-tarfile "$deb" | tar -xO ./usr/share/keyrings/ubuntu-archive-keyring.gpg >"$boxes/ubuntu.gpg"
}

make_base() {
	local mirror=http://deb.debian.org/debian options=() recipe=/usr/share/debootstrap/scripts/$suite
	if [[ $suite == noble ]]; then
		mirror=http://archive.ubuntu.com/ubuntu
		ubuntu_keyring
		options=(--components=main,universe --keyring="$boxes/ubuntu.gpg")
	fi
	[[ -e $recipe ]] || recipe=/usr/share/debootstrap/scripts/sid  # a release newer than this debootstrap
	rm -rf "$base"
	debootstrap --variant=minbase "${options[@]}" "$suite" "$base" "$mirror" "$recipe"
	printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"  # start nothing that is installed, see invoke-rc.d(8)
	chmod +x "$base/usr/sbin/policy-rc.d"
	chroot "$base" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $packages
	rm "$base/usr/sbin/policy-rc.d"
	touch "$base.ready"
}

mkdir -p "$boxes"
[[ -e $base.ready ]] || (make_base) >"$base.log" 2>&1 </dev/null || { tail -20 "$base.log" >&2; die "no $suite could be made"; }

trap 'rm -rf "$box" "$box.log" "$boxes/.#${box##*/}.lck"' EXIT
cp -a "$base" "$box"
cp -a "$2" "$box/src"
mkdir "$box/box"
if [[ -n ${PIP_CERT:-} ]]; then  # the certificates of a proxy on the way to the package index
	cp "$PIP_CERT" "$box/box/ca.crt"
	printf '[global]\ncert = /box/ca.crt\n' >"$box/etc/pip.conf"
fi
cat >"$box/etc/systemd/system/box.service" <<-E
	[Unit]
	After=multi-user.target
	[Service]
	Type=oneshot
	WorkingDirectory=/src
	ExecStart=/bin/sh -c './$1 >/box/out 2>&1; echo \$\$? >/box/status; systemctl --no-block poweroff'
E
mkdir -p "$box/etc/systemd/system/default.target.wants"
ln -s ../box.service "$box/etc/systemd/system/default.target.wants/"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1  # newer ones boot with cgroups of version 2 alone, whatever the host's are
devices=()  # with which a test mounts an image
for device in /dev/loop-control /dev/loop[0-9]; do
	[[ ! -e $device ]] || devices+=(--bind="$device")
done
# CAP_NET_ADMIN, as root of a machine has it: some kernels attach no filter to a socket without.
timeout -k 10 "${BOX_S:-900}" systemd-nspawn -q -D "$box" --boot --register=no --keep-unit \
	--capability=CAP_NET_ADMIN "${devices[@]}" >"$box.log" 2>&1 </dev/null || true
[[ -e $box/box/out ]] || { tail -20 "$box.log" >&2; die "the script did not run"; }
cat "$box/box/out"
exit "$(cat "$box/box/status" 2>/dev/null || echo 124)"

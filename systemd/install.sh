#!/bin/bash
# Installs mailnotary on this machine from these sources, or removes what was installed. As root, for the Makefile.
#
#   systemd/install.sh install PREFIX    an installation that is there is renewed, and a running service restarted
#   systemd/install.sh uninstall PREFIX  configuration, keys and state stay; with PURGE=yes, only the keys do
#
# All that is not below PREFIX or /etc goes to /usr/local, so that it is apart from what Debian's packages install.
set -euo pipefail
umask 022  # whatever the administrator's is: the service's user has to read all of this
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ETC=/etc/mailnotary
STATE=/var/lib/mailnotary
LOCAL=/usr/local
COMMAND=$LOCAL/bin/mailnotary
MAN=$LOCAL/share/man
DOC=$LOCAL/share/doc/mailnotary
COMPLETION=$LOCAL/share/bash-completion/completions/mailnotary
UNITS=$LOCAL/lib/systemd/system
SYSUSERS=$LOCAL/lib/sysusers.d/mailnotary.conf
TMPFILES=$LOCAL/lib/tmpfiles.d/mailnotary.conf

say() { printf 'mailnotary: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

refuse_beside_package() {
	[[ $(dpkg-query -Wf '${db:Status-Status}' mailnotary 2>/dev/null) != installed ]] ||
		die "this is not for the package mailnotary, which is installed: upgrade or remove that with apt"
}

install_program() {
	tests/bootstrap.sh install "$prefix"
	chmod -R u=rwX,go=rX "$prefix"
	# The environment serves the Python that it was made with. After a distribution upgrade there is another one.
	install -Dm755 /dev/stdin "$COMMAND" <<-E
		#!/bin/sh
		python=\$(readlink -f $prefix/bin/python)
		[ -d "$prefix/lib/\${python##*/}" ] || {
			echo "mailnotary: $prefix was made for another Python than \$python, which this machine has now:" \\
				"run \\\`make install\\\` again in mailnotary's sources" >&2
			exit 1
		}
		exec $prefix/bin/mailnotary "\$@"
	E
}

install_configuration() {
	install -d -m 755 "$ETC"
	install -d -o root -g mailnotary -m 750 "$ETC/keys"  # root's, so that the daemon can't put keys there
	local file
	for file in mailnotary.yaml keystore.yaml; do
		[[ -e $ETC/$file ]] || install -m 644 "config/$file" "$ETC/"
	done
}

install_unit() {
	local unit
	for unit in mailnotary.service mailnotary-web.service mailnotary-reports.service mailnotary-reports.timer \
		mailnotary-rotate.service mailnotary-rotate.timer; do
		sed "s|/usr/bin/mailnotary |$COMMAND |" "systemd/$unit" | install -Dm644 /dev/stdin "$UNITS/$unit"
	done
	install -Dm644 systemd/mailnotary.sysusers "$SYSUSERS"
	install -Dm644 systemd/mailnotary.tmpfiles "$TMPFILES"
	systemd-sysusers mailnotary.conf
	# Postfix's group is missing until Postfix is installed; the service tries this again whenever it starts.
	systemd-tmpfiles --create mailnotary.conf 2>/dev/null || true
}

install_documents() {
	local man
	man=$(mktemp -d)
	"$prefix/bin/python" config/man.py "$man" >/dev/null
	install -Dm644 -t "$MAN/man1" "$man"/*.1
	install -Dm644 -t "$MAN/man5" "$man"/*.5
	rm -r "$man"
	"$prefix/bin/mailnotary" completion bash | install -Dm644 /dev/stdin "$COMPLETION"
	install -Dm644 -t "$DOC" README.md CHANGELOG.md config/*.md config/grafana-dashboard.json config/prometheus-rules.yaml
}

restart() {  # a service that runs: it has the old code in memory
	[[ -d /run/systemd/system ]] || return 0
	systemctl daemon-reload
	if systemctl --quiet is-active mailnotary; then
		"$COMMAND" check-config --reload || die "the service still runs the old version: fix that, then systemctl restart mailnotary"
		systemctl restart mailnotary  # it serves its sessions to the end before; new mail waits for a few seconds
		say "the service was restarted"
	fi
	systemctl try-restart mailnotary-web
}

uninstall() {
	sh config/debian/mailnotary.prerm remove  # warns if Postfix would then defer all mail
	if [[ -d /run/systemd/system ]]; then
		systemctl --quiet disable --now mailnotary-reports.timer mailnotary-rotate.timer mailnotary mailnotary-web 2>/dev/null || true
	fi
	rm -rf "$prefix" "$DOC"
	rm -f "$COMMAND" "$COMPLETION" "$UNITS"/mailnotary{,-web,-reports,-rotate}.service "$UNITS"/mailnotary-{reports,rotate}.timer \
		"$SYSUSERS" "$TMPFILES" \
		"$MAN"/man1/mailnotary.1 "$MAN"/man5/mailnotary{,-keystore}.yaml.5
	[[ ! -d /run/systemd/system ]] || systemctl daemon-reload
	if [[ ${PURGE:-} == yes ]]; then
		sh config/debian/mailnotary.postrm purge
	else
		say "removed; $ETC, $STATE and the user mailnotary stay (PURGE=yes removes all but the keys and the user)"
	fi
}

[[ $EUID -eq 0 ]] || die "run this as root"
prefix=${2:?PREFIX is missing}
refuse_beside_package
case $1 in
install)
	install_program
	install_unit
	install_configuration
	install_documents
	restart ;;
uninstall) uninstall ;;
*) die "neither install nor uninstall: $1" ;;
esac

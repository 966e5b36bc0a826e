#!/bin/bash
# Builds the container image and proves it: what is in it, who it runs as, that it serves milters, and that it stops;
# and that the Postfix of config/compose.yaml checks and signs mail with it.
#
# With docker or podman, or with the program that IMAGE_TOOL names, which does `build DIR TAG`, `run TAG COMMAND...`,
# `user TAG` and `entry TAG` without either. Port 18891 of the loopback must be free.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

TAG=mailnotary:test
PORT=18891

if [[ -n ${IMAGE_TOOL:-} ]]; then
	tool() { "$IMAGE_TOOL" "$@"; }
	run=("$IMAGE_TOOL" run)
else
	for engine in docker podman none; do ! "$engine" info >/dev/null 2>&1 || break; done  # docker's client may be there alone
	[[ $engine != none ]] || { echo "no docker or podman answers here: start one, or set IMAGE_TOOL (see $0)" >&2; exit 2; }
	run=("$engine" run --rm --interactive --network host)
	tool() {
		case $1 in
		build) "$engine" build --tag "$3" "$2" ;;
		run) shift; "${run[@]}" "$@" ;;
		user) "$engine" image inspect --format '{{.Config.User}}' "$2" ;;
		entry) "$engine" image inspect --format '{{.Config.Entrypoint}} {{.Config.Cmd}}' "$2" ;;
		esac
	}
fi
in_image() { tool run "$TAG" "$@"; }
passed=0
check() {  # check WHAT COMMAND...
	local what=$1
	shift
	if "$@" >"$log" 2>&1; then
		echo "ok: $what"
		passed=$((passed + 1))
	else
		echo "FAILED: $what"
		tail -20 "$log"
		exit 1
	fi
}
nothing_of() { in_image sh -c 'for name; do ! command -v "$name" || exit 1; done' sh "$@"; }
is() { [[ $1 == "$2" ]] || { echo "'$1' is not '$2'"; return 1; }; }

log=$(mktemp)
daemon=
trap 'rm -f "$log" "$log.daemon"; [[ -z $daemon ]] || kill "$daemon" 2>/dev/null || true' EXIT

tests/bootstrap.sh test
check "it builds" tool build . "$TAG"
check "its user is not root" is "$(tool user "$TAG")" mailnotary
check "its command says where it listens" is "$(tool entry "$TAG")" "[] [mailnotary run --listen inet:8891@0.0.0.0]"
check "no compiler and no pip is in it" nothing_of gcc cc ld make pip
check "the command is there" in_image mailnotary --version
check "it can't write to itself" in_image sh -c '! touch /opt/mailnotary/x /etc/mailnotary/x /x 2>/dev/null'
check "its configuration is good" in_image mailnotary check-config
check "it makes and uses keys with OpenSSL" in_image python -c '
from mailnotary import crypto
assert crypto.backend() == "openssl", crypto.backend()
crypto.load_private_key(crypto.generate_private_key("ed25519")).sign(b"x" * 32)'

in_image mailnotary run --listen "inet:$PORT@0.0.0.0" >"$log.daemon" 2>&1 &
daemon=$!
for _ in {1..100}; do grep -q ready "$log.daemon" && break; sleep 0.1; done
check "it serves" .venv/bin/python -m mailnotary.daemon.probe "inet:$PORT@127.0.0.1"
check "its health check says so from inside" in_image python -m mailnotary.daemon.probe "inet:$PORT@127.0.0.1"
check "it takes a message" env PYTHONPATH=tests .venv/bin/python -c '
from support.milter_client import MilterClient
with MilterClient("inet:127.0.0.1:'"$PORT"'") as mta:
    outcome = mta.send_message(b"From: a@b.invalid\n\nhello\n", client_ip="192.0.2.1")
assert outcome.reply is None, outcome
assert outcome.headers("Authentication-Results"), outcome'
kill -TERM "$(pgrep -of "^/opt/mailnotary/bin/python[^ ]* .* run --listen inet:$PORT@")"  # the oldest: the supervisor
check "it stops when it is told to" timeout 20 tail --pid="$daemon" -f /dev/null
daemon=
check "nobody serves any more" bash -c "! .venv/bin/python -m mailnotary.daemon.probe inet:$PORT@127.0.0.1"

check "Postfix's image builds" tool build config/postfix mailnotary-postfix:test
check "both together check mail and sign it" env PYTHONPATH=tests .venv/bin/python tests/image/mail.py "${run[@]}"
echo "$passed passed, 0 failed"

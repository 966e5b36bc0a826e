"""Passes mail through the images of the daemon and of Postfix, as config/compose.yaml puts them side by side.

mail.py RUN...    where `RUN... IMAGE COMMAND...` runs a command in a container, on the host's network
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mailnotary.config.listen import Listen
from mailnotary.daemon.probe import ProbeError, probe
from support import mail, rig
from support.daemon import free_port
from support.dns_server import DnsServer
from support.postfix import Postfix, Sink, SmtpClient

KEYSTORE = "domains: {example.org: {keys: [{selector: rsa, file: rsa.pem}]}}\n"
MAILNOTARY = """
umask 077; mkdir /tmp/etc; cd /tmp/etc
echo "$CONFIG" >mailnotary.yaml; echo "$KEYSTORE" >keystore.yaml; echo "$KEY" >rsa.pem
mailnotary run --config /tmp/etc/mailnotary.yaml --listen "$LISTEN" &
cat >/dev/null; kill $!; wait
"""
# With the rights alone that the compose file leaves it; 25 is another's port on this host.
POSTFIX = """
sed -i "s/^smtp *inet/$LISTEN inet/" /etc/postfix/master.cf
rights=-all,+chown,+dac_override,+fowner,+kill,+net_bind_service,+setgid,+setuid
setpriv --no-new-privs --bounding-set $rights start-postfix &
cat >/dev/null; postfix stop; wait
"""


@contextmanager
def container(run: list[str], image: str, script: str, **environment: str) -> Iterator[None]:
    """Runs the script in a container; it ends when its standard input does."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    with subprocess.Popen([*run, image, "env", *variables, "sh", "-c", script], stdin=subprocess.PIPE):
        yield


def wait_until(works: Callable[[], object]) -> None:
    """Until it raises nothing any more; after half a minute what it raised."""
    deadline = time.monotonic() + 30
    while True:
        try:
            works()
            return
        except (ProbeError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def send(postfix: Postfix, message: bytes, *, sender: str, ip: str | None = None) -> bytes:
    """The message as Postfix hands it on."""
    reply = postfix.send(message, ip=ip, helo="mail.example.org", sender=sender)
    assert reply[0] == 250, reply
    return postfix.sink.wait_for(lambda _: True).data


def main(run: list[str]) -> None:
    """A message from outside is checked, one of ours is signed."""
    sink, port = Sink(), free_port()
    address = Listen.parse(f"inet:{free_port()}@127.0.0.1")
    postfix = Postfix(Path(), port, port, sink)
    with DnsServer(mail.zone()) as dns:
        daemon = container(
            run,
            "mailnotary:test",
            MAILNOTARY,
            LISTEN=str(address),
            CONFIG=f'dns: {{nameservers: ["{dns.nameserver}"]}}',
            KEYSTORE=KEYSTORE,
            KEY=mail.rsa_pem().decode(),
        )
        mta = container(
            run,
            "mailnotary-postfix:test",
            POSTFIX,
            LISTEN=f"127.0.0.1:{port}",
            POSTFIX_mailnotary=f"inet:127.0.0.1:{address.port}",
            POSTFIX_myhostname=rig.MTA,
            POSTFIX_relay_domains="rcpt.example",
            POSTFIX_relayhost=f"[127.0.0.1]:{sink.port}",
            POSTFIX_smtpd_authorized_xclient_hosts="127.0.0.1",
        )
        with daemon, mta:
            wait_until(lambda: probe(address))
            wait_until(lambda: SmtpClient(port).close())
            results = rig.results(send(postfix, mail.signed(), sender="a@example.org", ip=mail.GOOD_IP))
            for result in ("spf=pass", "dkim=pass", "dmarc=pass"):
                assert result in results, results
            ours, theirs = rig.verified(send(postfix, mail.MESSAGE, sender="alice@example.org"), mail.zone())
            assert theirs == [True], ours


if __name__ == "__main__":
    main(sys.argv[1:])

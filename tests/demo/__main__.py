"""Starts the real daemon on a loopback socket, with DNS of its own, plays the mail server to it with a few messages
and shows what becomes of each. Exit status 1 when the daemon does not do what is promised.

Run it with `make demo`."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo.scenes import OUR_ID, Scene, make_scenes, make_world
from mailnotary.escape import printable
from support.daemon import Daemon
from support.dns_server import DnsServer
from support.milter_client import Changed, Inserted, MilterClient, Outcome, split_message

CONFIG: dict[str, Any] = {
    "authserv_id": OUR_ID,
    "dmarc": {"mode": "enforce", "reject": "reject"},
    "log": {"format": "json"},
}
KEYSTORE = {
    "domains": {"example.org": {"keys": [{"selector": name, "file": f"{name}.pem"} for name in ("rsa", "ed")]}},
}

# The keys of the daemon's log line that tell why, and what they are to a reader.
REASONS = {
    "why": "whose mail",
    "spf_helo": "SPF of HELO",
    "spf_mailfrom": "SPF of MAIL FROM",
    "dkim": "DKIM",
    "dmarc": "DMARC",
    "policy": "policy",
    "dmarc_why": "so",
    "signed": "signed with",
    "forged_removed": "forged headers",
    "action": "action",
    "ms": "milliseconds",
    "dns": "DNS questions",
}


def main() -> int:
    """Plays all scenes."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(Rule("mailnotary: the demo", style="bold"))
    world = make_world()
    with tempfile.TemporaryDirectory() as name, DnsServer(world.zone) as dns:
        directory = Path(name)
        for selector, pem in world.files.items():
            path = directory / f"{selector}.pem"
            path.touch(mode=0o600)
            path.write_bytes(pem)
        with Daemon(directory, keystore=KEYSTORE, dns={"nameservers": [dns.nameserver]}, **CONFIG) as daemon:
            console.print(Text(f"The daemon runs at {daemon.address}; its DNS is {dns.nameserver}.", style="dim"))
            failed = 0
            for number, scene in enumerate(make_scenes(world), 1):
                queue_id = f"DEMO{number}"
                outcome = play(daemon.address, scene, queue_id)
                show(console, number, scene, outcome, log_line(daemon, queue_id))
                failed += show_checks(console, scene, outcome)
    console.print(Rule(style="bold"))
    if failed:
        console.print(Text(f"{failed} promises were not kept.", style="bold red"))
    else:
        console.print(Text("All as promised. The README says how to set it up with Postfix.", style="bold green"))
    return 1 if failed else 0


def play(address: str, scene: Scene, queue_id: str) -> Outcome:
    """Sends the scene's message as a mail server passes it to its milter."""
    with MilterClient(address) as mta:
        return mta.send_message(
            scene.message,
            client_ip=scene.client_ip,
            helo=scene.helo,
            mail_from=scene.mail_from,
            rcpts=[scene.rcpt],
            auth_user=scene.auth_user,
            queue_id=queue_id,
            mta_name=OUR_ID,
        )


def log_line(daemon: Daemon, queue_id: str) -> dict[str, Any]:
    """What the daemon logged about a message."""
    line = daemon.wait_for(queue_id)[0]
    fields: dict[str, Any] = json.loads(line[line.index("{") :])
    return fields


def show(console: Console, number: int, scene: Scene, outcome: Outcome, log: dict[str, Any]) -> None:
    """Prints envelope, reply, headers, and why."""
    console.print()
    console.print(Rule(f"[bold]{number}. {scene.title}[/bold]", align="left", style="cyan"))
    console.print(Text(scene.story, style="italic"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    who = f", logged in as {scene.auth_user}" if scene.auth_user else ""
    table.add_row("Envelope", f"from {scene.client_ip} (HELO {scene.helo}{who})")
    table.add_row("", f"MAIL FROM <{scene.mail_from}>, RCPT TO <{scene.rcpt}>")
    table.add_row("Reply", reply_text(outcome))
    for label, lines in (("Removed", removed(scene, outcome)), ("Added", added(outcome))):
        for line in lines or [Text("nothing", style="dim")]:
            table.add_row(label, line)
            label = ""
    label = "Why"
    for key, name in REASONS.items():
        if key in log:
            table.add_row(label, Text(f"{name}: ", style="dim").append(told(log[key]), style="default"))
            label = ""
    console.print(Padding(table, (1, 0)))


def told(value: Any) -> str:
    """A value of the log's JSON for a reader."""
    if isinstance(value, list):
        return "; ".join(told(item) for item in value)
    if isinstance(value, dict):
        return " ".join(
            filter(None, (value.get("result"), value["domain"], value.get("selector"), value.get("reason")))
        )
    return str(value)


def reply_text(outcome: Outcome) -> Text:
    """What the client is told."""
    if outcome.reply is None:
        return Text("250 taken", style="green")
    code = " ".join(filter(None, (str(outcome.reply.code), outcome.reply.enhanced_code)))
    return Text(f"{code} {outcome.reply.text}", style="bold red")


def removed(scene: Scene, outcome: Outcome) -> list[Text]:
    """The header fields that were taken out."""
    headers, _ = split_message(scene.message)
    lines = []
    for change in outcome.deleted:
        values = [value for name, value in headers if name.lower() == change.name.lower().encode()]
        lines.append(header_line("- ", change, values[change.index - 1], "red"))
    return lines


def added(outcome: Outcome) -> list[Text]:
    """The header fields that were put in, from the top down."""
    return [header_line("+ ", header, header.value, "green") for header in reversed(outcome.inserted)]


def header_line(sign: str, header: Changed | Inserted, value: bytes, style: str) -> Text:
    """One header field with its folds as they are, safe for a terminal."""
    lines = [printable(line.replace(b"\t", b"    ")) for line in value.replace(b"\r\n", b"\n").split(b"\n")]
    return Text(f"{sign}{header.name}:" + "\n    ".join(lines), style=style)


def show_checks(console: Console, scene: Scene, outcome: Outcome) -> int:
    """Prints whether each promise was kept; gives the number of those that were not."""
    failed = 0
    for promise, kept in scene.checks:
        good = kept(outcome)
        failed += not good
        console.print(
            Text("  \u2714 " if good else "  \u2718 ", style="bold green" if good else "bold red").append(promise)
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())

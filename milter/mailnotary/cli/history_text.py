"""What `mailnotary history` prints for people. All text of the store passes through `printable`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from mailnotary.cli.breadth_text import of_mechanism
from mailnotary.cli.common import result_style
from mailnotary.cli.output import SECTION, Console, Folded, Text, in_colors, print_section, print_table
from mailnotary.dkim import evidence
from mailnotary.escape import printable
from mailnotary.history.story import evidence_of, our_reason, totals_of

_WIDE = 110  # columns
_ACTION_STYLE = {"accept": "green", "hold": "yellow", "tempfail": "yellow", "reject": "red"}


def render_list(messages: Sequence[Mapping[str, Any]]) -> None:
    """One line a message; on a wide terminal with its mode and client, too."""
    console = Console()
    wide = console.rich.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("TIME", "QUEUE ID", "ACTION", "SPF", "DKIM", "DMARC"):
        table.add_column(name, no_wrap=True)
    for name in ("AUTHOR", *(("MODE", "CLIENT") if wide else ())):
        table.add_column(name, overflow="fold")
    for message in messages:
        table.add_row(
            message["time"][0 if wide else 5 : 19].replace("T", " "),
            _text(message["queue_id"]),
            Text(message["action"], _ACTION_STYLE.get(message["action"], "")),
            in_colors([result["status"] for result in message["spf"] if result["identity"] == "mailfrom"]),
            in_colors(sorted({result["status"] for result in message["dkim"]})),
            in_colors([message["dmarc"]["status"]] if message["dmarc"] else []),
            _text(",".join(message["author"]["domains"][:2]) if message["author"] else ""),
            *((message["mode"], _text(message["client"])) if wide else ()),
        )
    print_table(console, table)


def _text(text: str) -> Text:
    return Text(printable(text) or "-")


def render_story(message: Mapping[str, Any]) -> None:
    """The whole story of one message, in the form of `explain`."""
    console = Console()
    style = _ACTION_STYLE.get(message["action"], "")
    _section(console, "Message", f"{message['queue_id']} at {message['time']} on {message['host']}")
    _section(console, "Verdict", Text.assemble((message["action"], f"bold {style}"), f", mode {message['mode']}"))
    _section(console, "Why", message["why"])
    sender = f"from <{message['mail_from']}>, client {message['client'] or 'unknown'}, HELO {message['helo']}"
    if message["user"] is not None:
        sender += f", authenticated as {message['user']}"
    _section(console, "Envelope", sender)
    if (author := message["author"]) is not None:
        _section(console, "Author", ", ".join(author["domains"]) or "no author domain", author["reason"])
    for spf in message["spf"]:
        _result(console, "SPF", spf["status"], f" {spf['identity']} {spf['domain']}", spf["reason"])
        if broad := of_mechanism(spf["mechanism"] or ""):
            console.print(Folded(" " * SECTION, broad))
    for dkim in message["dkim"]:
        _result(console, "DKIM", dkim["status"], f" {dkim['domain']}, selector {dkim['selector']}", dkim["reason"])
        if (found := evidence_of(dkim)) is not None and (said := evidence.text(found)):
            console.print(Folded(" " * SECTION, said))
    if not message["dkim"] and message["mode"] == "verify":
        _result(console, "DKIM", "none", ", the message has no signature", "")
    if (dmarc := message["dmarc"]) is not None:
        _dmarc(console, dmarc)
    if (arc := message["arc"]) is not None:
        sealers = ", ".join(domain for domain, _ in reversed(arc["sets"]))
        _result(console, "ARC", arc["status"], f" sealed by {sealers}" if sealers else "", arc["reason"])
        if arc["missing"]:
            _section(console, "", f"would have passed through, were these trusted: {', '.join(arc['missing'])}")
    if (dkim2 := message["dkim2"]) is not None:
        about = f" {dkim2['domain']}, experimental, by {dkim2['draft']}, signatures: {dkim2['hops']}"
        _result(console, "DKIM2", dkim2["status"], about, dkim2["brief"])
    if message["would"] or message["override"]:
        would = f"would={message['would']}, " if message["would"] else ""
        _section(console, "", f"{would}{message['override']}")
    for signed in message["signed"]:
        _section(console, "Signed", f"{signed['domain']}, selector {signed['selector']}")
    if (reply := message["reply"]) is not None:
        _section(console, "Reply", f"{reply['code']} {reply['enhanced_code']} {reply['text']}")
    if message["error"]:
        _section(console, "Error", message["error"])
    _section(console, "Time", f"{message['ms']} ms")


def _dmarc(console: Console, dmarc: Mapping[str, Any]) -> None:
    _result(console, "DMARC", dmarc["status"], f" {dmarc['domain']}", dmarc["reason"])
    if (record := dmarc["record"]) is not None:
        tags = " ".join(f"{name}={record[name]}" for name in ("p", "sp", "np", "adkim", "aspf"))
        testing = " t=y" if record.get("t") else ""
        _section(
            console, "", f"policy of {record['domain']}: {tags}{testing}; for this message: {dmarc['disposition']}"
        )


def _result(console: Console, name: str, word: str, what: str, detail: str) -> None:
    print_section(console, name, Text.assemble((word, result_style(word)), printable(what)), printable(detail))


def _section(console: Console, name: str, title: Text | str, detail: str = "") -> None:
    print_section(console, name, title if isinstance(title, Text) else printable(title), printable(detail))


def render_disagreements(
    messages: Sequence[Mapping[str, Any]], agreement: Sequence[tuple[str, str, str, str, int]]
) -> None:
    """How far other filters agree with us, and each message in which one does not, with both reasons."""
    console = Console()
    for other, method, same_count, count in totals_of(agreement):
        share = f"{100 * same_count / count:.1f} %"
        agreed = f"{printable(other)} {method}: the same in {same_count} of {count} messages ({share})"
        console.print(Folded("", Text(agreed, "bold")))
    for message in messages:
        console.print(Folded("", f"{message['time'][:19]} {printable(message['queue_id'])} client {message['client']}"))
        for compared in message["compared"]:
            if compared["theirs"] != compared["ours"]:
                method, reason = compared["method"], printable(compared["reason"]) or "no reason"
                console.print(Folded(f"  {method}  theirs ", f"{compared['theirs']}: {reason}"))
                ours = f"{compared['ours']}: {printable(our_reason(message, method))}"
                console.print(Folded(f"  {' ' * len(method)}  ours   ", ours))

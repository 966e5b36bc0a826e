"""The text output of `mailnotary explain`. All text from a message or from DNS passes through `printable`."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from mailnotary.cli.breadth_text import of_mechanism
from mailnotary.cli.common import Nameservers, result_style
from mailnotary.cli.explain_arc import render as render_arc
from mailnotary.cli.explain_dkim2 import render as render_dkim2
from mailnotary.cli.output import SECTION, Console, Folded, Text, print_section
from mailnotary.cli.spf import spf_tree
from mailnotary.dkim import evidence
from mailnotary.dkim.diagnose import Diagnosis
from mailnotary.escape import printable
from mailnotary.mail.message import unfold
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import InsertHeader, Quarantine, Reply

if TYPE_CHECKING:
    from mailnotary.cli.explain import Explanation

_WHAT = {
    MessageMode.SIGN: "our own mail, to be signed",
    MessageMode.VERIFY: "mail from elsewhere, to be verified",
    MessageMode.NONE: "neither signed nor verified",
}


def render(explanation: Explanation, asked: Nameservers | None = None) -> None:
    """Prints an explanation: what, why, each check, what changes. `asked`: the nameservers, None for a zone file."""
    console = Console()
    for explain in (_heading, _author, _spf, _dkim, _dmarc, _arc, _dkim2):
        explain(console, explanation)
    _questions(console, explanation, asked)
    _changes(console, explanation)


def _status(word: str) -> Text:
    return Text(word, result_style(word))


def _indented(text: str, style: str = "", depth: int = SECTION) -> Folded:
    return Folded(" " * depth, Text(text, style))


def _heading(console: Console, explanation: Explanation) -> None:
    record = explanation.record
    style = {"accept": "green", "hold": "yellow", "tempfail": "yellow", "reject": "red"}[record.action]
    print_section(console, "Verdict", Text.assemble((record.action, f"bold {style}"), f", {_WHAT[record.mode]}"))
    print_section(console, "Why", Text(printable(record.why)))
    sender = f"from <{printable(record.mail_from)}>, client {record.client}, HELO {printable(record.helo)}"
    if record.auth_user is not None:
        sender += f", authenticated as {printable(record.auth_user)}"
    print_section(console, "Envelope", Text(sender))
    if record.error:
        print_section(console, "Error", Text(printable(record.error), "red"))


def _author(console: Console, explanation: Explanation) -> None:
    record = explanation.record
    if record.author is None:
        return
    if record.author.problem is None:
        print_section(
            console, "Author", Text(", ".join(printable(str(address)) for address in record.author.addresses))
        )
    else:
        print_section(console, "Author", Text("no single author domain", "red"), printable(record.author.reason))


def _spf(console: Console, explanation: Explanation) -> None:
    for result in explanation.record.results.spf:
        title = Text.assemble(f"{result.identity} ", _status(result.status), f" {printable(result.domain)}")
        print_section(console, "SPF", title, printable(result.reason))
        if broad := of_mechanism(result.mechanism):
            console.print(_indented(broad))
        steps = explanation.traces.spf.get(result.identity)
        if steps and len(steps) > 1:
            console.print(*spf_tree(steps, " " * SECTION))


def _dkim(console: Console, explanation: Explanation) -> None:
    signatures, diagnoses = explanation.record.results.signatures, explanation.diagnoses
    if not signatures and explanation.record.mode is MessageMode.VERIFY:
        print_section(console, "DKIM", Text.assemble(_status("none"), ", the message has no signature"))
    for result, diagnosis in zip_longest(signatures, diagnoses[: len(signatures)]):
        key = f"{result.algorithm}, {result.key_bits} bits" if result.key_bits else result.algorithm
        domain, selector = printable(result.domain), printable(result.selector)
        title = Text.assemble(_status(result.status), f" {domain}, selector {selector} ({printable(key)})")
        print_section(console, "DKIM", title, printable(result.reason))
        if result.evidence is not None and (said := evidence.text(result.evidence)):
            console.print(_indented(said))
        if diagnosis is not None:
            _diagnosis(console, diagnosis)


def _diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    same = "as signed" if diagnosis.body_hash == diagnosis.expected_body_hash else "not as signed"
    console.print(_indented(f"header hash {diagnosis.header_hash}"))
    console.print(_indented(f"body hash   {diagnosis.body_hash}, {same}"))
    for finding in diagnosis.findings:
        console.print(_indented(printable(finding), "yellow"))


def _dmarc(console: Console, explanation: Explanation) -> None:
    record, trace = explanation.record, explanation.traces.dmarc
    result = record.results.dmarc
    if result is None:
        return
    print_section(
        console,
        "DMARC",
        Text.assemble(_status(result.status), f" {printable(result.domain)}"),
        printable(result.reason),
    )
    for walk in trace.walks:
        console.print(_indented(f"walk from {printable(walk.start)}, organizational domain {walk.org_domain}"))
        for step in walk.steps:
            console.print(_indented(f"{printable(step.name)}: {printable(step.found)}", depth=12))
    for comparison in trace.compared:
        word = {True: "aligned", False: "not aligned", None: "unknown"}[comparison.aligned]
        console.print(
            Text(f"          {comparison.method} {printable(comparison.domain)}: {word}, {printable(comparison.why)}")
        )
    if result.policy is not None:
        policy = f"policy {result.policy} of {printable(trace.policy_domain)}"
        console.print(_indented(f"{policy}, for this message: {result.disposition}"))
    if record.verdict is not None and (record.verdict.would or record.verdict.why):
        would = f"would={record.verdict.would}, " if record.verdict.would else ""
        console.print(_indented(f"{would}{printable(record.verdict.why)}", "yellow"))


def _arc(console: Console, explanation: Explanation) -> None:
    record = explanation.record
    if (result := record.results.arc) is not None:
        render_arc(console, result, record.results.passage, record.arc_missing)


def _dkim2(console: Console, explanation: Explanation) -> None:
    if (result := explanation.record.results.dkim2) is not None:
        render_dkim2(console, result)


def _questions(console: Console, explanation: Explanation, asked: Nameservers | None) -> None:
    number = len(explanation.questions)
    to = f" to {asked}" if asked else ""
    print_section(console, "DNS", f"{number} question{'s' * (number != 1)}{to}")
    for question in explanation.questions:
        answer = question["answer"]
        shown = answer if isinstance(answer, str) else " | ".join(answer)
        console.print(_indented(f"{question['kind']} {question['name']}: {shown}"))


def _changes(console: Console, explanation: Explanation) -> None:
    for field in explanation.removed:
        print_section(console, "Removed", Text(printable(unfold(field.raw)), "red"))
    for action in explanation.record.actions:
        match action:
            case InsertHeader():
                lines = action.value.split("\r\n")
                print_section(console, "Added", Text(f"{action.name}: {printable(lines[0])}", "green"))
                for line in lines[1:]:
                    console.print(Text(f"          {printable(line.expandtabs(4))}", "green"))
            case Quarantine():
                print_section(console, "Hold", Text(printable(action.reason), "yellow"))
            case Reply():
                style = "red" if action.code >= 500 else "yellow"
                print_section(console, "Reply", Text(f"{action.code} {action.enhanced_code} {action.text}", style))
            case _:
                pass

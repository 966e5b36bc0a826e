"""Checks SPF for a HELO name and an envelope sender, and shows how the results are reached.

example: mailnotary spf --ip 192.0.2.7 --helo a.example --mail-from bob@a.example"""

import argparse
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from mailnotary.cli.breadth_text import in_words
from mailnotary.cli.common import (
    RecordingResolver,
    add_config,
    add_json,
    add_zone,
    client_address,
    nameservers,
    nameservers_json,
    print_json,
    read_settings,
    record_text,
    resolver_for,
    result_style,
)
from mailnotary.cli.output import Console, Folded, Text
from mailnotary.config.settings import Settings
from mailnotary.escape import printable
from mailnotary.resolver import Answer, DnsTempError, RecordKind, Resolver
from mailnotary.spf import (
    MAX_LOOKUPS,
    Question,
    SpfIdentity,
    SpfResult,
    TraceStep,
    check_helo,
    check_mail_from,
)
from mailnotary.spf.breadth import Breadth, breadth
from mailnotary.spf.record import ignored_mechanisms

_NAMES = {SpfIdentity.HELO: "HELO", SpfIdentity.MAILFROM: "MAIL FROM"}


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--ip", required=True, type=client_address, help="the client's address")
    parser.add_argument("--helo", required=True, metavar="NAME", help="the name that the client gave with HELO or EHLO")
    parser.add_argument(
        "--mail-from", required=True, metavar="ADDR", type=_sender, help='the envelope sender ("" for a bounce)'
    )
    add_config(parser)
    add_zone(parser)
    add_json(parser)


def _sender(text: str) -> str:
    if text.strip("<>") and "@" not in text:
        raise argparse.ArgumentTypeError(f"{printable(text)} has no domain: write an address like bob@example.org")
    return text


def run(args: argparse.Namespace) -> int:
    """Prints the results of both identities."""
    settings = read_settings(args.config)
    inner = resolver_for(args.zone, settings)
    resolver = RecordingResolver(inner)
    checked = _check(args.ip, args.helo, args.mail_from, resolver, settings)
    asked = nameservers(args.zone, settings, args.config)
    told = _breadth(checked, inner)
    if args.json:
        output = {"spf": [result for result, _ in checked], "dns": resolver.questions, "breadth": told}
        print_json(output | nameservers_json(asked))
    else:
        console = Console()
        for number, (result, steps) in enumerate(checked):
            between = [] if number == 0 else [""]
            console.print(*between, *_summary(result, steps, settings), *spf_tree(steps))
        if told is not None:
            console.print()
            console.print(Folded("Breadth   ", in_words(told)))
        if asked:
            console.print()
            console.print(Folded("DNS       ", f"asked {asked}"))
    return 0


def _breadth(checked: Sequence[tuple[SpfResult, list[TraceStep]]], resolver: Resolver) -> Breadth | None:
    """That of MAIL FROM's domain, which DMARC goes by; None without a record."""
    result, steps = checked[-1]
    return breadth(result.domain, resolver) if steps and steps[0].record is not None else None


def _check(
    ip: IPv4Address | IPv6Address, helo: str, mail_from: str, resolver: Resolver, settings: Settings
) -> list[tuple[SpfResult, list[TraceStep]]]:
    deadline = time.monotonic() + settings.limits.spf_seconds  # one for both, as for a message
    void = settings.spf.void_lookups
    helo_steps: list[TraceStep] = []
    steps: list[TraceStep] = []
    return [
        (check_helo(ip, helo, resolver, void_limit=void, deadline=deadline, trace=helo_steps), helo_steps),
        (
            check_mail_from(ip, mail_from, helo, resolver, void_limit=void, deadline=deadline, trace=steps),
            steps,
        ),
    ]


def _summary(result: SpfResult, steps: Sequence[TraceStep], settings: Settings) -> list[Text | Folded]:
    title = Text.assemble(
        (f"{_NAMES[result.identity]:<10}", "bold"),
        (str(result.status), f"bold {result_style(result.status)}"),
        f"  {printable(result.domain)}",
    )
    lines: list[Text | Folded] = [title, _indented(printable(result.reason))]
    if result.explanation:
        lines.append(_indented(f"the domain explains: {printable(result.explanation)}"))
    if steps:
        voids = f"{result.void_lookups} of {settings.spf.void_lookups} void look-ups"
        count = sum(len(step.questions) for step in steps)
        questions = f"{count} DNS {'question' if count == 1 else 'questions'}"
        lines.append(_indented(f"{result.lookups} of {MAX_LOOKUPS} look-ups, {voids}, {questions}"))
    return lines


def _indented(line: str) -> Folded:
    return Folded(" " * 10, line)


class _Node:
    """A term of a record (or at the root the record itself) as it is shown, and the terms below it."""

    def __init__(self, step: TraceStep) -> None:
        self.step = step
        self.lines: list[Text] = []
        self.below: list[_Node] = []


def spf_tree(steps: Sequence[TraceStep], indent: str = "") -> list[Folded]:
    """The steps of one check as a tree: each domain's record, its terms with their outcomes, each question with its
    answer, and a mark at the term that decided."""
    if not steps:
        return []
    root = _grow(steps)
    decider = _decider(root)
    if decider is not None:
        decider.lines[0].append("  <- decides", f"bold {result_style(steps[0].outcome)}")
    lines: list[Folded] = []
    _draw(root, indent, indent, lines)
    return lines


def _grow(steps: Sequence[TraceStep]) -> _Node:
    """Nests the steps: a step belongs to the one before it of a lesser depth."""
    root = latest = _Node(steps[0])
    owners: list[tuple[_Node, TraceStep]] = []  # of the terms at each depth, with their record
    for step in steps:
        if not step.term:  # a record, shown with the term that led to it
            del owners[step.depth :]
            owners.append((latest, step))
            latest.lines += _record_lines(step)
            continue
        owner, record = owners[step.depth]
        latest = _Node(step)
        latest.lines += _term_lines(step, record)
        owner.below.append(latest)
    return root


def _decider(node: _Node) -> _Node | None:
    """The term that a record's result comes from; of a redirect, and of an error in an include, the term behind it."""
    for child in reversed(node.below):
        outcome = child.step.outcome
        if outcome in ("no match", "explanation", "no explanation"):
            continue
        if outcome != "match":
            return _decider(child) or child
        return child
    return None


def _draw(node: _Node, first: str, others: str, lines: list[Folded]) -> None:
    for number, line in enumerate(node.lines):
        stem = Text(others + ("│  " if node.below else "   "), "dim")
        lines.append(Folded(stem if number else Text(first, "dim"), line, stem))
    for child in node.below:
        last = child is node.below[-1]
        _draw(child, others + ("└─ " if last else "├─ "), others + ("   " if last else "│  "), lines)


def _record_lines(step: TraceStep) -> list[Text]:
    style = result_style(step.outcome)
    if step.record is None:
        lines = [Text.assemble((printable(step.domain), "bold"), "  ", (step.outcome, style))]
        lines += [_question(question) for question in step.questions]
    else:
        others = sum(len(answer.records) for answer in _answers(step)) - 1
        beside = f"  ({others} other TXT)" if others > 0 else ""
        lines = [Text.assemble((printable(step.domain), "bold"), f'  TXT "{printable(step.record)}"', (beside, "dim"))]
        lines += [
            Text(f"{printable(term)} is ignored: a mechanism has a colon there", "yellow")
            for term in ignored_mechanisms(step.record)
        ]
    if step.note:
        lines.append(Text(printable(step.note), style))
    return lines


def _answers(step: TraceStep) -> list[Answer]:
    return [question.answer for question in step.questions if isinstance(question.answer, Answer)]


def _term_lines(step: TraceStep, record: TraceStep) -> list[Text]:
    target = f" = {printable(step.target)}" if step.target and step.target not in step.term else ""
    outcome = f"match: {record.outcome}" if step.outcome == "match" else step.outcome
    style = {"match": result_style(record.outcome), "no match": "dim"}.get(step.outcome, result_style(step.outcome))
    lines = [Text.assemble((printable(step.term), "cyan"), target, "  ", (outcome, style))]
    lines += [_question(question) for question in step.questions]
    if step.note:
        lines.append(Text(printable(step.note), "" if step.outcome == "explanation" else style))
    return lines


def _question(question: Question) -> Text:
    return Text(f"{question.kind} {printable(question.name)}: {_answer(question)}", "dim")


def _answer(question: Question) -> str:
    answer = question.answer
    if isinstance(answer, DnsTempError):
        return answer.word
    if not answer.records:
        return "NODATA" if answer.exists else "NXDOMAIN"
    if question.kind is RecordKind.TXT:
        return " | ".join(f'"{record_text(record)}"' for record in answer.records)
    return ", ".join(record_text(record) for record in answer.records)

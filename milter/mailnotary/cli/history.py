"""Shows what became of messages: the newest ones, those of a search, or the whole story of one.

With --what-if it says which of them another configuration would have refused, held or let through.

example: mailnotary history --domain example.org --result dmarc=fail --since 2d
         mailnotary history --what-if enforcing.yaml --since 30d"""

import argparse
import time
from pathlib import Path
from typing import Any

from mailnotary.cli.common import add_config, add_json, print_json, read_settings
from mailnotary.cli.history_arc import show_candidates
from mailnotary.cli.history_replays import show_replays
from mailnotary.cli.history_text import render_disagreements, render_list, render_story
from mailnotary.cli.history_what_if import what_if
from mailnotary.config.values import duration
from mailnotary.history.keeper import location_of
from mailnotary.history.schema import METHODS
from mailnotary.history.store import DAY, Search, Store
from mailnotary.history.uses import Uses

DEFAULT_LIMIT = 1000  # messages


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "queue_id", metavar="QUEUE_ID", nargs="?", help="the MTA's name of the message, for its whole story"
    )
    parser.add_argument("--domain", metavar="D", help="only messages of this author domain")
    parser.add_argument("--client", metavar="IP", help="only messages from this address")
    parser.add_argument(
        "--result", metavar="METHOD=WORD", type=_result, help="only those with a result like dmarc=fail"
    )
    parser.add_argument("--action", choices=["accept", "hold", "reject", "tempfail"], help="only those that ended so")
    parser.add_argument("--since", metavar="AGO", type=_ago, help="only those of the last 2h, 30d and so on")
    parser.add_argument(
        "--limit", metavar="N", type=int, default=DEFAULT_LIMIT, help=f"at most N (default: {DEFAULT_LIMIT})"
    )
    parser.add_argument(
        "--disagreements", action="store_true", help="those in which a filter of history.compare_with found otherwise"
    )
    parser.add_argument(
        "--replays", action="store_true", help="signatures that came from more than history.replay_networks"
    )
    parser.add_argument(
        "--arc-candidates",
        action="store_true",
        help="ARC sealers that vouch for mail that failed DMARC",
    )
    parser.add_argument("--what-if", metavar="NEW", type=Path, help="say what this configuration would have done")
    add_config(parser)
    add_json(parser)


def _result(text: str) -> tuple[str, str]:
    method, equals, word = text.partition("=")
    if not equals or method not in METHODS or not word:
        raise argparse.ArgumentTypeError(f"{text!r} is not a result: write one like dmarc=fail, spf=pass or dkim=none")
    return method, "" if word == "none" and method == "dkim" else word


def _ago(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    """Shows the messages; 1 where there is none."""
    settings = read_settings(args.config)
    search = Search(
        queue_id=args.queue_id,
        domain=args.domain.lower() if args.domain else None,
        client=args.client,
        result=args.result,
        action=args.action,
        differs=args.disagreements,
        since=None if args.since is None else time.time() - args.since,
    )
    store = Store.open(location_of(settings.history, settings.state_dir), read_only=True)
    try:
        if args.what_if is not None:
            return what_if(store, search, read_settings(args.what_if), as_json=args.json)
        if args.arc_candidates:
            return show_candidates(store, search, as_json=args.json)
        if args.replays:
            limit = settings.history.replay_networks or 1
            found = Uses(store.database).replays(limit, max(args.limit, 0), int(search.since or 0))
            return show_replays(found, as_json=args.json)
        agreement = store.agreement(search.since or 0, time.time() + DAY) if args.disagreements else []
        messages = [_without_id(message) for message in store.newest(search, max(args.limit, 0))]
    finally:
        store.close()
    if args.json:
        print_json({"messages": messages})
    elif args.disagreements:
        render_disagreements(messages, agreement)
    elif args.queue_id is not None:
        for message in messages:
            render_story(message)
    else:
        render_list(messages)
    return 0 if messages else 1


def _without_id(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "id"}

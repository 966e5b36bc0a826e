"""Shows what became of messages: the newest ones, those of a search, or the whole story of one.

With --what-if it says which of them another configuration would have refused, held or let through. The exit status is 1
as well where nothing is found.

example: mailnotary history --domain example.org --result dmarc=fail --since 2d
         mailnotary history --what-if enforcing.yaml --since 30d"""

import argparse
import time
from pathlib import Path
from typing import Any

from mailnotary.cli import complain
from mailnotary.cli.common import add_config, add_json, client_address, print_json, read_settings
from mailnotary.cli.history_arc import show_candidates
from mailnotary.cli.history_replays import show_replays
from mailnotary.cli.history_text import render_disagreements, render_list, render_story
from mailnotary.cli.history_what_if import what_if
from mailnotary.config.settings import Settings
from mailnotary.config.values import duration
from mailnotary.domain import to_ascii
from mailnotary.escape import printable
from mailnotary.history.keeper import location_of
from mailnotary.history.search import RESULTS
from mailnotary.history.store import DAY, Search, Store
from mailnotary.history.uses import Uses

DEFAULT_LIMIT = 1000  # messages


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "queue_id", metavar="QUEUE_ID", nargs="?", help="the MTA's name of the message, for its whole story"
    )
    parser.add_argument("--domain", metavar="D", help="only messages of this author domain")
    parser.add_argument("--client", metavar="IP", type=_client, help="only messages from this address")
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


def _client(text: str) -> str:
    return text if text == "unknown" else str(client_address(text))


def _result(text: str) -> tuple[str, str]:
    method, _, word = text.partition("=")
    if text not in RESULTS:
        alike = [result for result in RESULTS if result.startswith(f"{method}=")]
        one_of = ", ".join(alike[:-1]) + f" or {alike[-1]}" if alike else "one like dmarc=fail, spf=pass or dkim=none"
        raise argparse.ArgumentTypeError(f"'{printable(text, 80)}' is not a result: write {one_of}")
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
        domain=to_ascii(args.domain) or args.domain.lower() if args.domain else None,
        client=args.client,
        result=args.result,
        action=args.action,
        differs=args.disagreements,
        since=None if args.since is None else time.time() - args.since,
    )
    status = _show(args, search, settings)
    if status and not args.json:
        complain(f"mailnotary history: {_nothing(args, settings)}")
    return status


def _nothing(args: argparse.Namespace, settings: Settings) -> str:
    """What to say where nothing was found."""
    if args.replays and not settings.history.replay_networks:
        return "history.replay_networks is 0, so nothing is counted"
    if args.disagreements and not settings.history.compare_with:
        return "history.compare_with names no other filter, so nothing is compared"
    if args.disagreements:
        return "no message was found for which another filter says something else"
    if args.queue_id is not None:
        return f"there is no message {printable(args.queue_id, 80)}: the history goes back {settings.history.days} days"
    return "nothing was found"


def _show(args: argparse.Namespace, search: Search, settings: Settings) -> int:
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
    elif not messages:
        pass
    elif args.queue_id is not None:
        for message in messages:
            render_story(message)
    else:
        render_list(messages)
    return 0 if messages else 1


def _without_id(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "id"}

"""Serves a page that shows what became of mail, why, and what DNS serves of the signing keys. It only reads.

Without --behind-proxy it serves this machine alone: any account on it can ask. For others, put a proxy in front that
asks for a password, at a unix socket that only the proxy can open (--listen unix:PATH).

example: mailnotary web
         mailnotary web --what-if enforcing.yaml
         mailnotary web --listen unix:/run/mailnotary-web/web.sock --host mx.example.org --user-header X-User"""

import argparse
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from mailnotary.cli import CommandError
from mailnotary.cli.common import add_config, read_settings
from mailnotary.config.settings import Network
from mailnotary.domain import is_domain_name, to_ascii
from mailnotary.escape import printable
from mailnotary.web.access import LOCAL, Access
from mailnotary.web.server import DEFAULT, MISSING, Address, WebError, server

_TOKEN = frozenset("!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110 section 5.6.2; no _, see waitress


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--listen",
        metavar="WHERE",
        type=_address,
        default=Address.parse(DEFAULT),
        help=f"ADDRESS:PORT or unix:PATH (default: {DEFAULT})",
    )
    parser.add_argument(
        "--behind-proxy",
        metavar="ADDRESS",
        type=_network,
        action="append",
        default=[],
        help="a proxy or network; only such may then connect, and to addresses of other machines, too",
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        type=_host,
        action="append",
        default=[],
        help="a name by which browsers ask for the page, beside localhost and the address",
    )
    parser.add_argument(
        "--user-header",
        metavar="FIELD",
        type=_field,
        help="the field in which the proxy says who has logged in; requests without it are refused",
    )
    parser.add_argument("--what-if", metavar="NEW", type=Path, help="show what this configuration would have done")
    parser.add_argument(
        "--reports",
        metavar="DIRECTORY",
        type=Path,
        help="show the DMARC reports of others that are in it, or a Maildir's",
    )
    add_config(parser)


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{printable(text, 80)} is not an address or a network: write one like 192.0.2.7 or 192.0.2.0/28"
        ) from None


def _host(text: str) -> str:
    with suppress(ValueError):
        return str(ip_address(text.strip("[]")))
    name = to_ascii(text)
    if name is None or not is_domain_name(name):
        raise argparse.ArgumentTypeError(f"{printable(text, 80)} is not a host name: write it without scheme and port")
    return name


def _field(text: str) -> str:
    if not text or not set(text.lower()) <= _TOKEN or text.lower() in ("host", "cookie"):
        raise argparse.ArgumentTypeError(f"{printable(text, 80)} is not the name of a field: write X-Remote-User, say")
    return text


def run(args: argparse.Namespace) -> int:
    """Serves until it is stopped."""
    address: Address = args.listen
    if not address.is_local and not args.behind_proxy:
        args.parser.error(
            f"{address} can be reached from other machines, and the page asks for no password: name the proxy that "
            "does with --behind-proxy ADDRESS, or listen on 127.0.0.1"
        )
    if args.user_header and not (args.behind_proxy or address.path):
        args.parser.error(
            "--user-header is taken from a proxy alone: name it with --behind-proxy, or listen on unix:PATH"
        )
    if address.path and args.behind_proxy:
        args.parser.error("--behind-proxy is for addresses: who may open a unix socket, its directory decides")
    try:
        from mailnotary.web.application import Site, create_app
    except ImportError as error:
        raise CommandError(MISSING) from error
    settings = read_settings(args.config)
    hosts = frozenset((*LOCAL, address.host, *args.host)) - {""}
    access = Access(hosts, tuple(args.behind_proxy), args.user_header or "")
    try:
        serving = server(create_app(Site(settings, access, args.what_if, args.reports)), address)
    except WebError as error:
        raise CommandError(str(error)) from error
    if not address.path:
        address = replace(address, port=int(serving.effective_port))  # 0: any that is free
    print(f"the page is at {address}", flush=True)
    serving.run()
    return 0

"""Runs the milter in the foreground until SIGTERM or SIGINT; SIGHUP reloads the configuration.

example: mailnotary run -c /etc/mailnotary/mailnotary.yaml
         mailnotary run --listen unix:/run/mailnotary/mailnotary.sock"""

import argparse

from mailnotary.cli import CommandError
from mailnotary.cli.common import DEFAULT_CONFIG, add_config
from mailnotary.config.yaml_nodes import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_config(parser)
    parser.add_argument(
        "--listen",
        metavar="ADDR",
        help="the socket for the MTA, overrides the configuration file: inet:8891@127.0.0.1, unix:/path",
    )


def run(args: argparse.Namespace) -> int:
    """Serves until it is told to stop."""
    from mailnotary.daemon import start  # libmilter need not be there for the other commands

    try:
        return start.serve(args.config or DEFAULT_CONFIG, args.listen)
    except ConfigError as error:
        raise CommandError(f"the configuration cannot be used:\n{error}") from error
    except OSError as error:
        raise CommandError(f"cannot start: {error}") from error

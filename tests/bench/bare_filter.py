"""A filter that hashes the body and adds a field, with one process a core: the least that a filter with pymilter does.

python tests/bench/bare_filter.py SOCKET
"""

import hashlib
import os
import sys
from typing import Any

import milter

_ACTIONS = milter.ADDHDRS | milter.CHGHDRS
_PROTOCOL = (
    milter.P_NORCPT
    | milter.P_NODATA
    | milter.P_NOUNKNOWN
    | milter.P_NR_CONN
    | milter.P_NR_HELO
    | milter.P_NR_MAIL
    | milter.P_NR_HDR
    | milter.P_NR_EOH
    | milter.P_NR_BODY
    | milter.P_HDR_LEADSPC
)


def negotiate(_ctx: Any, offer: list[int]) -> int:
    """Asks for no reply but the last."""
    offer[:2] = [_ACTIONS, _PROTOCOL]
    return milter.CONTINUE


def quiet(_ctx: Any, *_: Any) -> int:
    """An event that needs no work."""
    return milter.NOREPLY


def end_of_header(ctx: Any) -> int:
    """Begins the hash."""
    ctx.setpriv(hashlib.sha256())
    return milter.NOREPLY


def body(ctx: Any, chunk: bytes) -> int:
    """Hashes."""
    ctx.getpriv().update(chunk)
    return milter.NOREPLY


def end_of_message(ctx: Any) -> int:
    """Adds the hash."""
    ctx.addheader("X-Hash", " " + ctx.getpriv().hexdigest(), 0)
    return milter.CONTINUE


def go_on(_ctx: Any) -> int:
    """The message or the connection is over."""
    return milter.CONTINUE


def main() -> None:
    """Serves until it is killed."""
    milter.set_flags(_ACTIONS)
    milter.set_connect_callback(quiet)
    milter.set_helo_callback(quiet)
    milter.set_envfrom_callback(quiet)
    milter.set_header_callback(quiet)
    milter.set_eoh_callback(end_of_header)
    milter.set_body_callback(body)
    milter.set_eom_callback(end_of_message)
    milter.set_abort_callback(go_on)
    milter.set_close_callback(go_on)
    milter.register("bare", negotiate=negotiate)
    milter.setconn(f"unix:{sys.argv[1]}")
    milter.opensocket(False)
    cores = sorted(os.sched_getaffinity(0))
    for number in range(1, len(cores)):
        if os.fork() == 0:
            os.sched_setaffinity(0, {cores[number]})
            break
    else:
        os.sched_setaffinity(0, {cores[0]})
    milter.main()


if __name__ == "__main__":
    main()

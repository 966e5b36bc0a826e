"""Fuzzing of SPF: the first line is the client's address, the next ones sender and HELO name, the rest are the TXT
records of a zone in which every name has something.

    python tests/fuzz/fuzz_spf.py [libFuzzer's options]
"""

from support.fuzzing import run
from support.spf import check_everything

CLIENTS = ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0", "::")


def one_input(data: bytes) -> None:
    """Checks one input; an exception is a finding."""
    client, sender, helo, *records = [*data[:200_000].split(b"\n"), b"", b""]
    check_everything(CLIENTS[sum(client) % len(CLIENTS)], sender, helo, [b"v=spf1 " + text for text in records])


if __name__ == "__main__":
    run(one_input)

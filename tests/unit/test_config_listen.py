"""The listening socket in libmilter's words and in Postfix's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.listen import MAX_UNIX_PATH, Listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inet:8891@127.0.0.1", Listen("inet", "127.0.0.1", 8891)),
        ("inet:8891@0.0.0.0", Listen("inet", "0.0.0.0", 8891)),
        ("inet:8891@[127.0.0.1]", Listen("inet", "127.0.0.1", 8891)),
        ("inet:1@localhost", Listen("inet", "localhost", 1)),
        ("inet:65535@Mail.Example.ORG", Listen("inet", "mail.example.org", 65535)),
        ("inet6:8891@::1", Listen("inet6", "::1", 8891)),
        ("inet6:8891@[::1]", Listen("inet6", "::1", 8891)),
        ("inet6:8891@::", Listen("inet6", "::", 8891)),
        ("inet6:8891@2001:DB8:0:0::1", Listen("inet6", "2001:db8::1", 8891)),
        ("inet6:8891@localhost", Listen("inet6", "localhost", 8891)),
        ("inet:127.0.0.1:8891", Listen("inet", "127.0.0.1", 8891)),
        ("inet:localhost:8891", Listen("inet", "localhost", 8891)),
        ("inet:[::1]:8891", Listen("inet6", "::1", 8891)),
        ("inet6:[::1]:8891", Listen("inet6", "::1", 8891)),
        ("unix:/run/m/m.sock", Listen("unix", path="/run/m/m.sock")),
        ("local:/run/m/m.sock", Listen("unix", path="/run/m/m.sock")),
        ("unix:/" + "x" * (MAX_UNIX_PATH - 1), Listen("unix", path="/" + "x" * (MAX_UNIX_PATH - 1))),
    ],
)
def test_both_ways_of_writing_are_understood(text: str, expected: Listen) -> None:
    assert Listen.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("8891", "is not a socket: write inet:8891@127.0.0.1, inet6:8891@::1 or unix:"),
        ("tcp:8891@127.0.0.1", "is not a socket"),
        ("", "is not a socket"),
        ("inet", "is not a socket"),
        ("inet:", "is not port@address"),
        ("inet:8891", "the address is missing: write inet:8891@127.0.0.1"),
        ("inet::8891", "the address is missing: write inet:8891@127.0.0.1"),
        ("inet:8891@", "is not port@address"),
        ("inet:@127.0.0.1", "is not port@address"),
        ("inet:0@127.0.0.1", "'0' is not a port: write a number from 1 to 65535"),
        ("inet:65536@127.0.0.1", "'65536' is not a port"),
        ("inet:milter@127.0.0.1", "'milter' is not a port"),
        ("inet:٨@127.0.0.1", "is not a port"),
        ("inet:127.0.0.1:x", "'x' is not a port"),
        ("inet:8891@::1", "write inet6:8891@::1"),
        ("inet:8891@[::1]", "write inet6:8891@::1"),
        ("inet6:8891@127.0.0.1", "write inet:8891@127.0.0.1"),
        ("inet:8891@127.0.0.256", "is not an IP address"),
        ("inet:8891@127.1", "is not an IP address"),
        ("inet6:8891@::g", "is not an IP address"),
        ("inet6:8891@fe80::1%eth0", "a socket address can't have a zone ('%eth0'): remove it"),
        ("inet:8891@a b", "is neither an address nor a host name"),
        ("inet:8891@a\x1bb", "'a\\x1bb' is neither an address nor a host name"),
        ("unix:run/m.sock", "is not an absolute path: write unix:/run/"),
        ("unix:", "is not an absolute path"),
        ("unix:/run/", "is a directory: add the socket's name"),
        ("unix:/a\nb", "characters that can't be printed"),
        ("unix:/" + "x" * MAX_UNIX_PATH, "can have 107 octets, and this has 108"),
        ("unix:/" + "ä" * 54, "can have 107 octets, and this has 109"),
        ("/run/m.sock", "write unix:/run/m.sock"),
    ],
)
def test_what_is_wrong_says_what_to_write(text: str, cure: str) -> None:
    with pytest.raises(ValueError, match=re.escape(cure)) as caught:
        Listen.parse(text)
    assert str(caught.value).isprintable()


@given(st.one_of(st.text(max_size=60), st.from_regex(r"(inet6?|unix|local):[0-9a-z@:./\[\]%]{0,40}", fullmatch=True)))
def test_anything_is_parsed_or_refused_and_what_is_parsed_means_itself(text: str) -> None:
    try:
        listen = Listen.parse(text)
    except ValueError:
        return
    assert Listen.parse(str(listen)) == listen


@pytest.mark.parametrize(
    ("text", "exposed"),
    [
        ("unix:/run/socket", False),
        ("inet:8891@127.0.0.1", False),
        ("inet:8891@127.9.9.9", False),
        ("inet:8891@localhost", False),
        ("inet6:8891@::1", False),
        ("inet:8891@0.0.0.0", True),
        ("inet6:8891@::", True),
        ("inet:8891@192.0.2.1", True),
        ("inet6:8891@::ffff:127.0.0.1", True),  # not on an IPv6 socket of ours
        ("inet:8891@mail.example.org", True),
    ],
)
def test_a_socket_that_other_machines_may_reach_is_said_to_be_one(text: str, exposed: bool) -> None:
    warning = Listen.parse(text).exposure
    assert ("can be reached from other machines" in warning and "socket.peers" in warning) is exposed
    assert (warning == "") is not exposed

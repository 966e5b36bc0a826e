"""Who may connect over TCP: the program that the kernel runs, and what the kernel makes of it."""

import errno
import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.config.listen import Listen
from mailnotary.config.settings import Network, SocketSettings
from mailnotary.daemon.listener import ListenError, open_listener
from mailnotary.daemon.peers import _AND, _IF_EQUAL, _LOAD, _NETWORK_HEADER, _block, admit
from support.daemon import free_port, may_filter

ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6)


def networks(address: IPv4Address | IPv6Address) -> st.SearchStrategy[Network]:
    """Networks that this address is in."""
    lengths = st.integers(0, address.max_prefixlen)
    return lengths.map(lambda length: ip_network(f"{address}/{length}", strict=False))


def lets_through(network: Network, source: IPv4Address | IPv6Address) -> bool:
    """Runs the program as the kernel does (linux/filter.h)."""
    header = (b"\0" * 12 if source.version == 4 else b"\0" * 8) + source.packed + b"\0" * 40
    program = _block(network)
    accumulator = place = 0
    while place < len(program):
        code, if_so, if_not, value = program[place]
        place += 1
        if code == _LOAD:
            offset = value - _NETWORK_HEADER
            accumulator = int.from_bytes(header[offset : offset + 4], "big")
        elif code == _AND:
            accumulator &= value
        elif code == _IF_EQUAL:
            place += if_so if accumulator == value else if_not
        else:
            return value != 0
    return False


@given(st.data(), ADDRESSES)
def test_a_network_lets_its_addresses_through(data: st.DataObject, address: IPv4Address | IPv6Address) -> None:
    assert lets_through(data.draw(networks(address)), address)


@given(st.data(), ADDRESSES)
def test_and_no_others(data: st.DataObject, address: IPv4Address | IPv6Address) -> None:
    network = data.draw(networks(address))
    other = data.draw(st.ip_addresses(v=address.version))
    near = ip_address(int(address) ^ 1 << data.draw(st.integers(0, address.max_prefixlen - 1)))
    for one in (other, near if near.version == address.version else other):
        assert lets_through(network, one) == (one in network)


def reaches(listen: Listen, source: str) -> bool:
    family = socket.AF_INET6 if listen.family == "inet6" else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(0.3)
        client.bind((source, 0))
        try:
            client.connect((listen.host, listen.port))
        except TimeoutError:
            return False
        return True


def refuses() -> None:
    """Where the kernel forbids filters, a listener with peers is refused: it never serves everybody instead."""
    with pytest.raises(ListenError, match=r"socket\.peers: this system lets only root filter"):
        open_listener(Listen("inet", "127.0.0.1", free_port()), SocketSettings(peers=(ip_network("127.0.0.1"),)))


def test_a_kernel_that_forbids_filters_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("mailnotary.daemon.peers.admit", forbidden)
    refuses()


@pytest.mark.parametrize(
    ("peers", "let_in"),
    [
        (["127.0.0.1"], ["127.0.0.1"]),
        (["127.0.0.0/31", "192.0.2.0/24", "2001:db8::/32"], ["127.0.0.1"]),
        (["192.0.2.1", "127.0.0.2", "127.0.1.0/24"], ["127.0.0.2", "127.0.1.9"]),
        (["198.51.100.0/24"], []),
        (["0.0.0.0/0"], ["127.0.0.1", "127.0.0.2", "127.0.1.9"]),
        ([], ["127.0.0.1", "127.0.0.2", "127.0.1.9"]),
    ],
)
@pytest.mark.root  # newer kernels let nobody else attach a filter
def test_the_kernel_lets_in_whom_the_settings_name(peers: list[str], let_in: list[str]) -> None:
    if peers and not may_filter():
        refuses()
        return
    listen = Listen("inet", "127.0.0.1", free_port())
    listener = open_listener(listen, SocketSettings(peers=tuple(ip_network(one) for one in peers)))
    try:
        sources = ["127.0.0.1", "127.0.0.2", "127.0.1.9"]
        assert [source for source in sources if reaches(listen, source)] == let_in
    finally:
        listener.shut()


@pytest.mark.parametrize(
    ("peer", "let_in"), [("::1", True), ("::/127", True), ("::2/127", False), ("2001:db8::1", False)]
)
@pytest.mark.root
def test_the_kernel_knows_ipv6_addresses(peer: str, let_in: bool) -> None:
    if not may_filter():
        refuses()
        return
    with socket.socket(socket.AF_INET6) as server:
        admit(server, [ip_network(peer)])
        server.bind(("::1", 0))
        server.listen()
        assert reaches(Listen("inet6", "::1", server.getsockname()[1]), "::1") is let_in


@pytest.mark.root
def test_as_many_networks_as_there_may_be_are_taken() -> None:
    if not may_filter():
        refuses()
        return
    with socket.socket(socket.AF_INET6) as server:
        admit(server, [ip_network(f"2001:db8:{number:x}::1") for number in range(64)])


def test_peers_that_nobody_can_be_are_an_error() -> None:
    listen = Listen("inet", "127.0.0.1", free_port())
    with pytest.raises(ListenError, match=r"socket\.peers: none of them is an IPv4 network"):
        open_listener(listen, SocketSettings(peers=(ip_network("2001:db8::/32"),)))

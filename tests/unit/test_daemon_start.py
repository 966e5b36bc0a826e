"""From the command line to the supervisor."""

from ipaddress import ip_network

import pytest

from mailnotary.configuration import Configuration
from mailnotary.daemon.start import _overridden
from mailnotary.keystore import KeyStore
from mailnotary.settings import Settings, SocketSettings


@pytest.mark.parametrize(
    ("listen", "peers", "warned"),
    [
        (None, (), False),
        ("inet:8891@127.0.0.1", (), False),
        ("inet:8891@0.0.0.0", (), True),
        ("inet:8891@0.0.0.0", (ip_network("172.16.0.0/12"),), False),
    ],
)
def test_the_command_lines_socket_goes_before_the_files_and_is_warned_of_where_strangers_reach_it(
    listen: str | None, peers: tuple[()], warned: bool
) -> None:
    configuration = Configuration(Settings(socket=SocketSettings(peers=peers)), KeyStore())
    found = _overridden(configuration, listen)
    assert found.settings.listen == (listen or Settings().listen)
    assert [str(warning).partition(" can be")[0] for warning in found.warnings] == [f"--listen: {listen}"] * warned

"""The listening socket's group, where the daemon may not change it: as a plain user, or in a sandbox without chown."""

import grp
import os
from pathlib import Path

import pytest

from mailnotary.daemon.listener import ListenError, open_listener
from mailnotary.listen import Listen
from mailnotary.settings import SocketSettings


@pytest.fixture(autouse=True)
def sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)


def test_a_socket_that_has_its_group_from_the_folder_needs_no_chown(tmp_path: Path) -> None:
    mine = grp.getgrgid(tmp_path.stat().st_gid).gr_name
    listener = open_listener(Listen("unix", path=f"{tmp_path}/socket"), SocketSettings(group=mine))
    assert Path(tmp_path, "socket").group() == mine
    listener.shut()


def test_a_group_that_it_may_not_give_is_said_with_the_way_out(tmp_path: Path) -> None:
    other = next(one.gr_name for one in grp.getgrall() if one.gr_gid != tmp_path.stat().st_gid)
    with pytest.raises(ListenError, match=rf"chgrp {other} {tmp_path} && chmod g\+s"):
        open_listener(Listen("unix", path=f"{tmp_path}/socket"), SocketSettings(group=other))
    assert list(tmp_path.iterdir()) == []

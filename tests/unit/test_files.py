"""Files under whose name something else may lie: nothing that is read at the start, at a reload or by a command waits."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mailnotary import keystate, settings_file
from mailnotary.configuration import ConfigError, load_configuration
from mailnotary.files import read_regular
from mailnotary.keystate import StateError
from mailnotary.opendkim.conf import OpendkimError, read_conf


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o666)


def bound(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o666)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = pytest.mark.parametrize("make", [fifo, bound, link_to_a_device, Path.mkdir])
Make = Callable[[Path], object]


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_regular(path, 4) == b"0123"
    assert read_regular(path, 100) == b"0123456789"


@KINDS
def test_what_is_no_regular_file_is_refused_without_waiting_and_leaves_no_descriptor(
    tmp_path: Path, make: Make
) -> None:
    path = tmp_path / "file"
    make(path)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError) as raised:  # noqa: PT011 - which of them, is looked at below
        read_regular(path, 100)
    assert raised.value.errno in (errno.EINVAL, errno.EISDIR, errno.ENXIO)
    assert os.listdir("/proc/self/fd") == before


@KINDS
def test_no_such_thing_is_waited_for_in_the_place_of_a_file_of_ours(tmp_path: Path, make: Make) -> None:
    config = tmp_path / "mailnotary.yaml"
    config.write_text("user: root\n")
    make(tmp_path / "keystore.yaml")
    with pytest.raises(ConfigError, match=r"keystore\.yaml: can't be read"):
        load_configuration(config)
    make(tmp_path / "other.yaml")
    with pytest.raises(ConfigError, match=r"other\.yaml: can't be read"):
        settings_file.load(tmp_path / "other.yaml")
    make(tmp_path / keystate.FILE)
    with pytest.raises(StateError, match="can't be read"):
        keystate.load(tmp_path)
    make(tmp_path / "opendkim.conf")
    with pytest.raises(OpendkimError, match="can't be read"):
        read_conf(tmp_path / "opendkim.conf")

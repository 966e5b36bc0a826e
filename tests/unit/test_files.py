"""Files under whose name something else may lie: no start, no reload and no command waits for it."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mailnotary.config import settings_file
from mailnotary.config.load import ConfigError, load_configuration
from mailnotary.files import open_directory, read_regular, resolve
from mailnotary.importing.conf import read_conf
from mailnotary.importing.source import SourceError
from mailnotary.keys import histories
from mailnotary.keys.histories import StateError


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
    with pytest.raises(ConfigError, match=r"keystore\.yaml: (can't be read|is a directory)"):
        load_configuration(config)
    make(tmp_path / "other.yaml")
    with pytest.raises(ConfigError, match=r"other\.yaml: (can't be read|is a directory)"):
        settings_file.load(tmp_path / "other.yaml")
    make(tmp_path / histories.FILE)
    with pytest.raises(StateError, match="can't be read"):
        histories.load(tmp_path)
    make(tmp_path / "opendkim.conf")
    with pytest.raises(SourceError, match="can't be read"):
        read_conf(tmp_path / "opendkim.conf")


def test_a_path_is_resolved_as_the_kernel_does(tmp_path: Path) -> None:
    place = Path(os.path.realpath(tmp_path))
    (place / "a").mkdir()
    (place / "a" / "up").symlink_to("../b")
    (place / "b").symlink_to(place / "c")
    (place / "c").mkdir()
    assert resolve(place / "a" / "up" / "file") == place / "c" / "file"
    assert resolve(place / "b" / ".." / "missing" / "file") == place / "missing" / "file"
    (place / "loop").symlink_to("loop")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number says which
        resolve(place / "loop" / "file")
    assert caught.value.errno == errno.ELOOP


def test_a_directory_that_is_swapped_for_a_link_is_not_the_one_that_was_meant(tmp_path: Path) -> None:
    place = Path(os.path.realpath(tmp_path))
    (place / "outer" / "inner").mkdir(parents=True)
    (place / "elsewhere" / "inner").mkdir(parents=True)
    meant = resolve(place / "outer" / "inner")
    with open_directory(meant) as descriptor:
        (place / "outer").rename(place / "moved")
        (place / "outer").symlink_to("elsewhere")
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        assert (place / "moved" / "inner" / "file").exists()
    with pytest.raises(OSError, match="replaced"), open_directory(meant):
        pass
    (place / "link").symlink_to("elsewhere")
    with pytest.raises(OSError), open_directory(place / "link"):  # noqa: PT011 - ENOTDIR or ELOOP
        pass

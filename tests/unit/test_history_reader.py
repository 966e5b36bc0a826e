"""The history, read by an account that cannot write to it: the page's."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailnotary.history.database import SlowStoreError, StoreError
from mailnotary.history.store import Numbering, Search, Store
from mailnotary.history.story import row_of, story_of
from support.messages import verified

READER, GROUP = 65533, 65532  # nobody has them
_NUMBER = Numbering()
# The account need not be able to read this tree: what it runs is loaded before.
BECOME = f"""
import os, sys
import mailnotary.history.sqlite
from mailnotary.history.store import Search, Store
os.setgroups([]); os.setgid({{group}}); os.setuid({READER})
"""
READ = """
store = Store.open(sys.argv[1], read_only=True)
print(*(found["queue_id"] for found in store.each(Search())))
"""


@pytest.fixture
def path() -> Iterator[str]:
    """In a directory that gives its group to files, as systemd/mailnotary.tmpfiles makes it."""
    with TemporaryDirectory(prefix="mailnotary-") as directory:  # others cannot enter those of pytest
        os.chmod(directory, 0o755)
        history = Path(directory) / "history"
        history.mkdir()
        os.chown(history, 0, GROUP)
        os.chmod(history, 0o2750)
        before = os.umask(0o077)
        yield str(history / "history.db")
        os.umask(before)


def add(store: Store, *queue_ids: str) -> None:
    records = [verified(queue_id) for queue_id in queue_ids]
    store.add([(_NUMBER(row_of(record)), row_of(record), story_of(record, str)) for record in records])


def read(path: str, group: int = GROUP) -> tuple[str, str]:
    """What another account reads, and its complaint."""
    done = subprocess.run(
        [sys.executable, "-c", BECOME.format(group=group) + READ, path],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip(), done.stderr.strip().rpartition("\n")[2]


@pytest.mark.root
def test_the_group_of_its_directory_reads_it_while_it_is_written_and_afterwards(path: str) -> None:
    store = Store.open(path)
    add(store, "A")
    assert read(path) == ("A", "")
    add(store, "B")
    assert read(path) == ("A B", "")
    store.close()  # which takes the write-ahead log away
    assert not os.path.exists(f"{path}-wal")
    assert read(path) == ("A B", "")


@pytest.mark.root
def test_after_a_crash_of_the_daemon_too(path: str) -> None:
    crash = f"""
import os, sys
from mailnotary.history.store import Store
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from unit import test_history_reader as here
store = Store.open({path!r})
here.add(store, "A", "B")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", crash], check=True)
    assert os.path.exists(f"{path}-wal")
    assert read(path) == ("A B", "")


@pytest.mark.root
def test_it_can_be_read_by_that_group_alone_and_written_by_nobody_else(path: str) -> None:
    store = Store.open(path)
    add(store, "A")
    for suffix in ("", "-wal", "-shm"):
        status = os.stat(path + suffix)
        assert (status.st_gid, status.st_mode & 0o777) == (GROUP, 0o640)
    store.close()
    nothing, complaint = read(path, READER)
    assert nothing == ""
    assert f"the user {READER} cannot reach it: Permission denied" in complaint


def test_elsewhere_it_is_for_its_user_alone(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "history.db"))
    add(store, "A")
    for name in ("history.db", "history.db-wal", "history.db-shm"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    store.close()


@pytest.mark.root
def test_what_is_written_while_nobody_was_thought_to_write_is_noticed(path: str) -> None:
    store = Store.open(path)
    add(store, "A")
    store.close()
    program = f"""
store = Store.open({path!r}, read_only=True)
print("ready", flush=True)
sys.stdin.readline()
print(store.count(Search()))
"""
    command = [sys.executable, "-c", BECOME.format(group=GROUP) + program]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        store = Store.open(path)
        add(store, "B")
        _, complaint = reader.communicate("\n")
        store.close()
    assert complaint.strip().endswith("the daemon has begun to write to it: ask again")


def test_a_question_has_an_end(tmp_path: Path) -> None:
    path = str(tmp_path / "history.db")
    store = Store.open(path)
    add(store, *(f"Q{number}" for number in range(3000)))
    store.close()
    reader = Store.open(path, read_only=True, seconds=0)
    with pytest.raises(SlowStoreError, match="took too long"):
        reader.count(Search(mode="sign"))
    reader.close()
    assert issubclass(SlowStoreError, StoreError)

"""A PostgreSQL server of one's own on a unix socket, for tests: Debian's programs, a fresh cluster, no network.

with Postgresql(tmp_path) as server:
    Store.open(server.url)
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

USER = "postgres"  # who runs it: the server refuses to be root's


def programs() -> Path:
    """Where the newest server's programs are."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


class Postgresql:
    """The server; `stop` and `start` may be called again and again."""

    def __init__(self, directory: Path) -> None:
        # Not below pytest's directory, which nobody but its owner may enter, and whose path is too long for a socket.
        self._directory = Path("/tmp") / f"mailnotary-pg-{os.getpid()}-{abs(hash(directory)) % 10**8}"
        self._directory.mkdir(mode=0o755)
        self._data = self._directory / "data"
        if os.geteuid() == 0:
            entry = pwd.getpwnam(USER)
            os.chown(self._directory, entry.pw_uid, entry.pw_gid)
        self._run("initdb", "--auth=trust", "--no-sync", "--encoding=UTF8", "--username=test", "-D", str(self._data))

    def empty(self) -> str:
        """Takes everything out of its database; gives the URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url

    @property
    def url(self) -> str:
        """The database that every server has."""
        return f"postgresql://test@/postgres?host={self._directory}"

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        options = f"-k {self._directory} -c listen_addresses='' -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-w", "-D", str(self._data), "-l", str(self._directory / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stops it at once, as a crash of its host would."""
        self._run("pg_ctl", "-w", "-D", str(self._data), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(programs() / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        # Not a pipe: the server keeps what it was started with, and the test would wait for its end.
        with open(self._directory / "commands.log", "ab") as log:
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._directory)

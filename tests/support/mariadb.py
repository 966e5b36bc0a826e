"""A MariaDB server of one's own on a unix socket, for tests: Debian's programs, a fresh directory, no network."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql

USER = "mysql"  # who runs it as root
SECONDS = 60.0


class MariaDb:
    """The server, with the database `mail`; `stop` and `start` may be called again and again."""

    def __init__(self, directory: Path) -> None:
        self._directory = Path("/tmp") / f"mailnotary-maria-{os.getpid()}-{abs(hash(directory)) % 10**8}"
        self._directory.mkdir(mode=0o755)
        self._data = self._directory / "data"
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            entry = pwd.getpwnam(USER)
            os.chown(self._directory, entry.pw_uid, entry.pw_gid)
            self._as_user = [f"--user={USER}"]
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={self._data}", *self._as_user]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*command, *options], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The database."""
        return f"mariadb://root@localhost/mail?unix_socket={self._directory}/socket"

    def execute(self, sql: str, *parameters: object, database: str | None = "mail") -> None:
        """Runs SQL."""
        with (
            pymysql.connect(
                user="root", unix_socket=f"{self._directory}/socket", database=database, autocommit=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql, parameters or None)

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *("/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self._data}", "--skip-networking"),
                    *(f"--socket={self._directory}/socket", f"--pid-file={self._directory}/pid", *self._as_user),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL would leave one open where nobody answers
                    probe.connect(f"{self._directory}/socket")
                self.execute("CREATE DATABASE IF NOT EXISTS mail", database=None)
                return
            except (pymysql.MySQLError, OSError):
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """Stops it at once, as a crash of its host would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._directory)

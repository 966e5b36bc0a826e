"""The process of the recorder: it takes what the workers hand over, and brings it into the store. Mail never waits for
it, and where it fails mail goes on."""

import logging
import os
import select
import signal
import socket
import threading
from typing import Final, NoReturn

from mailnotary.config.settings import Settings
from mailnotary.daemon import child
from mailnotary.daemon.board import Board
from mailnotary.daemon.log import say_lost
from mailnotary.daemon.recording import COUNTS, LOST, MAX_PACKET, MESSAGES, SIGNATURES
from mailnotary.history import replays
from mailnotary.history.keeper import Keeper, Waiting
from mailnotary.history.replays import Replays
from mailnotary.metrics import counts
from mailnotary.metrics.sums import Sums

log = logging.getLogger(__name__)

NAME: Final = "mailnotary-hist"  # of the process, as `ps -c` and `top` show it
NICE: Final = 5  # mail goes first, but what is handed over should not pile up
_GATHER: Final = 0.3  # seconds between two transactions
_RETRY: Final = 5.0  # seconds after which it is tried again to serve the metrics
_LAST: Final = 3.0  # seconds for what waits when the process is told to end


def run(reader: socket.socket, settings: Settings, board: Board) -> NoReturn:
    """The life of the process, until the last of those who write has gone, or SIGTERM."""
    try:
        child.begin(NAME, NICE)
        Recorder(reader, settings, board).run()
        os._exit(0)
    except BaseException as error:
        log.critical("defect in the recorder", exc_info=error)
    os._exit(1)


class Recorder:
    """One thread reads, so that the workers find room in the socket; another one writes, and waits for the disk."""

    def __init__(self, reader: socket.socket, settings: Settings, board: Board) -> None:
        self._reader = reader
        self._waiting = Waiting()
        history = settings.history
        self._replays = (
            Replays(history.replay_networks, history.days, board.put, board.drop) if history.replay_networks else None
        )
        keep = self._replays.keep if self._replays is not None else None
        self._keeper = Keeper(history, settings.state_dir, self._waiting, besides=keep) if history.enabled else None
        self._listen = settings.metrics.listen
        self._sums = Sums()
        self._ending = threading.Event()
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)

    def run(self) -> None:
        """Serves until the workers and the supervisor have closed their end, or SIGTERM comes."""
        signal.signal(signal.SIGTERM, lambda *_: os.write(self._end, b"."))
        writer = threading.Thread(target=self._write, name="store", daemon=True)
        writer.start()
        if self._listen is not None:
            threading.Thread(target=self._serve, args=(self._listen,), name="metrics", daemon=True).start()
        while self._read():
            pass
        self._ending.set()
        writer.join(_LAST + 1)

    def _read(self) -> bool:
        readable, _, _ = select.select([self._reader.fileno(), self._ended], [], [])
        if self._reader.fileno() not in readable:
            return False
        packet = self._reader.recv(MAX_PACKET)
        kind, content = packet[:1], packet[1:]
        if kind == MESSAGES:
            self._waiting.add(content)
        elif kind == LOST:
            self._waiting.lose(int(content))
        elif kind == SIGNATURES and self._replays is not None:
            for use in replays.unpack(content):
                self._replays.see(use)
        elif kind == COUNTS:
            self._sums.add(counts.read(content))
        return bool(packet)

    def _write(self) -> None:
        try:
            while not self._ending.is_set():
                say_lost()
                if not self._store():
                    self._ending.wait(_GATHER)
            if self._keeper is not None:
                self._keeper.finish(_LAST)
        except BaseException as error:
            log.critical("defect in the recorder", exc_info=error)
            os._exit(1)

    def _store(self) -> bool:
        """Brings some of what waits into the store; whether more is left."""
        if self._keeper is None:
            return False
        more = self._keeper.step()
        self._sums.add(self._keeper.news())
        return more

    def _serve(self, listen: str) -> None:
        """Serves the metrics as soon as that is possible: an earlier daemon may still hold the port."""
        from mailnotary.metrics.exporter import (  # with an HTTP server, which few configurations want
            Exporter,
            MetricsError,
        )

        problem = ""
        while not self._ending.is_set():
            try:
                Exporter(listen, self._sums)
            except MetricsError as error:
                if str(error) != problem:
                    problem = str(error)
                    log.error(
                        "the metrics cannot be served; mail is not affected", extra={"fields": {"error": problem}}
                    )
                self._ending.wait(_RETRY)
            else:
                log.info("serving metrics", extra={"fields": {"listen": listen}})
                return

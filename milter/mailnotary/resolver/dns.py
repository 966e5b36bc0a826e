"""The resolver that asks real nameservers (the only one that needs a network)."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path

from dns.rcode import NOERROR

from mailnotary.escape import printable
from mailnotary.resolver.burst import Begun, Burst
from mailnotary.resolver.cache import AnswerCache, Key
from mailnotary.resolver.server import Server
from mailnotary.resolver.transport import UnreachableError, answered, ask, usable
from mailnotary.resolver.types import MAX_CNAMES, Answer, DnsTempError, RecordKind
from mailnotary.resolver.wire import Reply, lower, parse_name

MAX_BEGUN = 1024  # questions that were sent and that nobody waits for yet: some three for each message under way
LEFT_SECONDS = 1.0  # after which its answer is kept where nobody waits for it
BEGUN_SECONDS = 30  # after which none will come
BURST_SECONDS = 0.01  # in which questions are of one burst: those of a message, and of others that come meanwhile
RESOLV_CONF = "/etc/resolv.conf"
CACHE_OCTETS = 32 * 1024 * 1024  # memory for answers in one process, about: a hostile zone has 64 KiB at every name

_NO_SUCH_NAME = Answer((), exists=False)


class _Flight:
    """A question under way. `outcome` stays None if whoever asked had less time than a question may take."""

    __slots__ = ("begun", "landed", "outcome")

    def __init__(self, begun: Begun | None = None) -> None:
        self.begun = begun  # if it was sent before anybody waited
        self.landed = threading.Lock()  # held until it has landed; an Event takes ten times as long to make
        self.landed.acquire()
        self.outcome: Answer | DnsTempError | None = None


class DnsResolver:
    """Asks recursive nameservers over UDP and TCP, and remembers what they say.

    `nameservers` are (IP address, port), asked in this order; none: the system's. `timeout` in seconds bounds one
    question, all tries together. `cache_entries` bounds the answers that are kept. `clock` in seconds tells their
    age. `before_wait` is called by each lookup that is about to wait, in its own thread; `note` for each question to
    nameservers, with the outcome ("answer", "timeout" or "error") and the seconds that were waited for it. Raises
    ValueError for a nameserver that is not an IP address.

    Safe to call from any thread. Equal questions at the same time are asked once. While an answer is kept, the same
    Answer object with the same record objects is returned: an `lru_cache` over a record's octets finds what was
    parsed from it by identity. Make one in each process, after the fork."""

    def __init__(
        self,
        nameservers: Sequence[tuple[str, int]] = (),
        *,
        timeout: float = 5.0,
        cache_entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        before_wait: Callable[[], object] = lambda: None,
        note: Callable[[str, float], object] = lambda _outcome, _seconds: None,
    ) -> None:
        self._servers = [Server(address, port) for address, port in nameservers or system_nameservers()]
        self._timeout = timeout
        self._before_wait = before_wait
        self._note = note
        self.hits = 0  # lookups that the cache answered; no lock, for Python switches threads nowhere in an increment
        self._cache = AnswerCache(cache_entries, CACHE_OCTETS, clock)
        self._flights: dict[Key, _Flight] = {}
        self._lock = threading.Lock()
        self._begun: dict[Key, _Flight] = {}  # those of the flights that nobody waits for yet, the oldest first
        self._newest: tuple[Burst | None, float] = None, 0.0  # the newest burst, and when that was

    def __del__(self) -> None:
        for flight in getattr(
            self, "_begun", {}
        ).values():  # a reload has put another resolver in the place of this one
            if flight.begun is not None:
                flight.begun.close()

    def lookup(self, name: str, kind: RecordKind) -> Answer:
        """See `Resolver.lookup`."""
        return self.lookup_within(name, kind, self._timeout)

    def lookup_within(self, name: str, kind: RecordKind, seconds: float) -> Answer:
        """Like `lookup`, in at most so many seconds, and never more than the resolver's own `timeout`."""
        key = name, kind
        answer = self._cache.get(key)
        if answer is not None:
            self.hits += 1
            return answer
        flight = self._take(key)
        if flight is not None and (answer := self._arrived(key, flight)) is not None:
            return answer  # what was begun with in these very letters: nearly always
        parsed = parse_name(name)
        if parsed is None:
            return _NO_SUCH_NAME
        key = lower(name), kind
        whole = seconds >= self._timeout
        deadline = time.monotonic() + (self._timeout if whole else seconds)
        return self._lookup(parsed, key, deadline, flight, whole=whole)

    def prefetch(self, questions: Iterable[tuple[str, RecordKind]]) -> None:
        """See `TimedResolver.prefetch`. They are sent at once, and read by whoever waits first."""
        for question in questions:
            if question in self._flights or question in self._cache:
                continue
            name, kind = question
            parsed = parse_name(name)
            if parsed is not None:
                self._begin(parsed, (lower(name), kind))
        while len(self._begun) > MAX_BEGUN:
            with self._lock:
                oldest = list(self._begun.items())[:1]
            for key, flight in oldest:
                self._collect(key, flight)

    def tidy(self) -> None:
        """Keeps the answers to questions that nobody has waited for: a message ended early, or is still on its way.
        To be called now and then; never waits."""
        now = time.monotonic()
        with self._lock:
            begun = list(self._begun.items())
        for key, flight in begun:
            if flight.begun is None or now - flight.begun.sent < LEFT_SECONDS:
                return
            if now - flight.begun.sent >= BEGUN_SECONDS or flight.begun.over():
                self._collect(key, flight)

    def _take(self, key: Key) -> _Flight | None:
        """The question, if it was begun with and nobody waits for it yet: from now on the caller does, for all others
        too."""
        return self._begun.pop(key, None)

    def _arrived(self, key: Key, flight: _Flight) -> Answer | None:
        """Ends a question that was begun with, if its answer is there and says it all; else it is still under way."""
        assert flight.begun is not None  # noqa: S101 - for the type checker
        try:
            reply = answered(flight.begun, key[1])
            if reply is None or reply.target is not None or reply.cnames > MAX_CNAMES:
                return None
            answer = flight.outcome = _answer(reply, reply.octets, reply.authentic)
            self._cache.put(key, answer, reply.ttl)
        except BaseException:  # a defect; nobody is to wait for this question
            self._land(key, flight)
            raise
        self._land(key, flight)
        self._note("answer", 0.0)
        return answer

    def _collect(self, key: Key, flight: _Flight) -> None:
        """Ends a question that nobody waits for, with what has come of it. Another thread may have ended it since it
        was looked for, and a third have begun with it anew: that one stays."""
        with self._lock:  # under which alone questions are begun with
            if self._begun.get(key) is not flight or self._take(key) is None:
                return
        if self._arrived(key, flight) is None:
            assert flight.begun is not None  # noqa: S101 - for the type checker
            flight.begun.close()
            self._land(key, flight)

    def _land(self, key: Key, flight: _Flight) -> None:
        with self._lock:
            del self._flights[key]
        flight.landed.release()

    def _begin(self, name: bytes, key: Key) -> None:
        """Sends a question, unless it is under way or answered."""
        if key in self._flights:
            return
        begun = self._in_burst(name, key[1])
        if begun is None:
            return
        flight = _Flight(begun)
        with self._lock:
            known = key in self._flights or key in self._cache
            if not known:
                self._flights[key] = self._begun[key] = flight
        if known:
            begun.close()
        else:
            begun.burst.send(begun)

    def _in_burst(self, name: bytes, kind: RecordKind) -> Begun | None:
        """A question of the burst under way, or of a new one; None where no socket is available."""
        now = time.monotonic()
        server = self._servers[0]
        if server.down_until > now:
            server = usable(self._servers)[0]
        burst, since = self._newest
        if burst is not None and burst.server is server and now - since < BURST_SECONDS:
            begun = burst.add(name, kind)
            if begun is not None:
                return begun
        try:
            burst = Burst(server, server.connect())
        except OSError:
            return None  # its lookup will say what is wrong
        self._newest = burst, now
        return burst.add(name, kind)

    def _lookup(self, name: bytes, key: Key, deadline: float, flight: _Flight | None, *, whole: bool) -> Answer:
        """Asks, or waits for another thread that does. `flight`: the question, if it was taken."""
        while True:
            ours = flight is not None
            if flight is None:
                with self._lock:
                    answer = self._cache.get(key)
                    if answer is not None:
                        return answer
                    flight = self._flights.get(key)
                    if flight is None:
                        flight = self._flights[key] = _Flight()
                        ours = True
                    else:
                        ours = self._take(key) is not None
            if ours:
                self._fly(flight, name, key, deadline, whole=whole)
            elif not self._has_landed(flight, deadline):
                raise _temp_error(key, DnsTempError("no reply in time", "TIMEOUT"))
            outcome = flight.outcome
            if isinstance(outcome, Answer):
                return outcome
            if outcome is not None:
                raise outcome.again()
            if ours:
                raise _temp_error(key, DnsTempError("no reply in the time left", "TIMEOUT"))
            flight = None

    def _has_landed(self, flight: _Flight, deadline: float) -> bool:
        """Whether another thread's question is over until then; waits for it."""
        if flight.landed.locked():
            self._before_wait()
        if not flight.landed.acquire(timeout=max(deadline - time.monotonic(), 0)):
            return False
        flight.landed.release()  # for others who wait
        return True

    def _fly(self, flight: _Flight, name: bytes, key: Key, deadline: float, *, whole: bool) -> None:
        """Asks, keeps what comes of it, and wakes those who wait. A time-out says nothing to others and is not kept
        when the time was not `whole`."""
        started, word = time.monotonic(), "error"
        try:
            answer, ttl = self._ask(name, key[1], deadline, flight.begun)
            self._cache.put(key, answer, ttl)
            flight.outcome, word = answer, "answer"
        except DnsTempError as error:
            word = "timeout" if error.word == "TIMEOUT" else "error"
            if whole or error.word != "TIMEOUT":
                flight.outcome = _temp_error(key, error)
                if not isinstance(error, UnreachableError):
                    self._cache.put_failure(key, flight.outcome)
        finally:
            self._land(key, flight)
            self._note(word, time.monotonic() - started)

    def _ask(self, name: bytes, kind: RecordKind, deadline: float, begun: Begun | None) -> tuple[Answer, int | None]:
        """The answer and its TTL, None where none is said. A server that does not follow a CNAME is asked again."""
        cnames = octets = 0
        ttls: list[int] = []
        authentic = True
        while True:
            reply = ask(self._servers, name, kind, deadline - time.monotonic(), begun, self._before_wait)
            begun = None
            cnames += reply.cnames
            octets += reply.octets
            authentic = authentic and reply.authentic
            if cnames > MAX_CNAMES:
                raise DnsTempError(f"a loop, or more than {MAX_CNAMES} CNAMEs")
            if reply.ttl is not None:
                ttls.append(reply.ttl)
            if reply.target is None:
                known = min(ttls) if reply.ttl is not None else None
                return _answer(reply, octets, authentic), known
            name = reply.target


def _answer(reply: Reply, octets: int, authentic: bool) -> Answer:
    return Answer(reply.records, bool(reply.records) or reply.rcode == NOERROR, octets, authentic)


def system_nameservers(file: str = RESOLV_CONF) -> list[tuple[str, int]]:
    """The nameservers of /etc/resolv.conf; without any the one on this host (resolv.conf(5))."""
    try:
        lines = Path(file).read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    found = [words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"]
    return [(address, 53) for address in found if _is_address(address)] or [("127.0.0.1", 53)]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _temp_error(key: Key, error: DnsTempError) -> DnsTempError:
    name, kind = key
    return DnsTempError(f"{kind} {printable(name, limit=255)}: {error.reason}", error.word)

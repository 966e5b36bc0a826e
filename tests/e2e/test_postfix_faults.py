"""What Postfix and the daemon do together when one of them is not well: mail waits, and none is lost."""

import threading
import time
from collections.abc import Iterator

import pytest

from support.mail import GOOD_IP, MESSAGE
from support.rig import Rig, fields, results, start

pytestmark = pytest.mark.mta

ALICE = {"ip": GOOD_IP, "helo": "mail.example.org", "sender": "alice@example.org"}


@pytest.fixture
def rig() -> Iterator[Rig]:
    with start() as running:
        yield running


def test_while_the_daemon_is_down_mail_is_deferred_and_comes_later(rig: Rig) -> None:
    rig.daemon.stop()
    assert rig.postfix.send(MESSAGE, **ALICE)[0] == 451
    rig.postfix.sendmail(b"From: bob@example.org\nTo: al@example.com\n\nhello\n", "-t")
    time.sleep(1)
    assert not rig.postfix.sink.take_all(), "nothing leaves unsigned"
    rig.restart()
    mail = rig.postfix.receive()
    assert rig.verified(mail.data)[0] == ["pass rsa", "pass ed"]
    assert results(rig.deliver(MESSAGE, **ALICE).data)


def test_dns_that_does_not_answer_is_a_temperror_and_heals(rig: Rig) -> None:
    rig.dns.stop()
    said = results(rig.deliver(MESSAGE, **ALICE).data)
    assert "spf=temperror" in said
    assert "dmarc=pass" not in said
    rig.dns.start()
    assert "spf=pass" in results(rig.deliver(MESSAGE, **ALICE).data)


def test_sigterm_under_load_loses_nothing_and_lets_nothing_pass_unseen(rig: Rig) -> None:
    codes: list[int] = []
    taken: list[int] = []
    stop = threading.Event()

    def load(client: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            number = client * 1_000_000 + count
            code, _ = rig.postfix.send(MESSAGE.replace(b"lunch", b"lunch %d" % number), **ALICE)
            codes.append(code)
            if code == 250:
                taken.append(number)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    rig.daemon.stop()
    time.sleep(0.5)
    rig.restart()
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(codes) == {250, 451}, "each is taken or asked to come again"
    arrived = [rig.postfix.receive().data for _ in taken]
    assert sorted(f"lunch {number}" for number in taken) == sorted(fields(mail, "Subject")[0] for mail in arrived)
    assert all("spf=pass" in results(mail) for mail in arrived)
    assert not rig.postfix.sink.take_all()

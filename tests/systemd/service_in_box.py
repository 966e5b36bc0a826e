"""The service in a booted systemd with Debian's Postfix, chrooted as it comes: set up as the README says, and through
all that an admin and a bad day do to it. The tests run in their order, each on what the ones before left behind."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailnotary.history.store import Store
from support.box import CONFIG, HOST, configure, journal, run, shown, wait_for
from support.box_mail import MTA, PORT, POSTFIX, SOCKET, Box, Load, check_page, set_up
from support.daemon import children, name_of
from support.mail import MESSAGE, signed
from support.messages import verified as verified_message
from support.reports import asking, fill
from support.rig import results, verified

HISTORY = Path("/var/lib/mailnotary/history/history.db")


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """The services as the README sets them up; systemd logs what it is notified of."""
    run("systemctl", "log-level", "debug")
    yield set_up()
    print("\n--- the journal's end\n" + journal()[-3000:])


def supervisor() -> int:
    return int(shown("MainPID"))


def workers() -> list[int]:
    return [pid for pid in children(supervisor()) if name_of(pid) not in ("mailnotary-keys", "mailnotary-log")]


def notified(word: str) -> int:
    """How often the service told systemd so, by systemd's debug log: each release has a sentence of its own for it,
    with the sender's PID and what it said."""
    text = run("journalctl", "--quiet", "--no-pager", "--output=cat", "_PID=1")
    return len(re.findall(rf"mailnotary\.service: .*\bPID \d+\b.*\b{word}", text))


def serving() -> bool:
    return shown("SubState") == "running" and shown("StatusText").startswith("serving on ")


def reload() -> None:
    before = journal().count(" reloaded ")
    run("systemctl", "reload", "mailnotary")
    wait_for(lambda: journal().count(" reloaded ") > before, "the configuration was reloaded")


def test_the_service_is_up_and_tells_systemd_how_it_fares(box: Box) -> None:
    assert shown("ActiveState") == "active"
    assert shown("StatusText") == f"serving on unix:{SOCKET}, configuration 1"
    assert notified("READY=1") == 1
    assert run("systemctl", "is-enabled", "mailnotary").strip() == "enabled"
    assert Path(f"/proc/{supervisor()}").owner() == "mailnotary"
    run("systemd-analyze", "verify", "mailnotary.service")


def test_it_starts_before_postfix_and_stops_after_it(box: Box) -> None:
    assert {"postfix.service", "postfix@-.service"} <= set(shown("Before").split())
    run("systemctl", "restart", "postfix", "mailnotary")
    wait_for(lambda: shown("ActiveState", POSTFIX) == "active", "Postfix runs")
    began, ended = "ActiveEnterTimestampMonotonic", "InactiveEnterTimestampMonotonic"
    assert int(shown(began)) < int(shown(began, POSTFIX))
    assert int(shown(ended)) > int(shown(ended, POSTFIX))


def test_the_sandbox_is_tight(box: Box) -> None:
    last = run("systemd-analyze", "security", "--no-pager", "mailnotary.service").strip().splitlines()[-1]
    print("\n" + last)
    (level,) = re.findall(r"\b\d+\.\d+\b", last)
    assert float(level) <= 2.0


def test_the_sandbox_lets_each_worker_keep_to_a_core_and_the_key_watch_go_behind_mail(box: Box) -> None:
    assert [len(os.sched_getaffinity(pid)) for pid in workers()] == [1] * len(workers())
    (key_watch,) = set(children(supervisor())) - set(workers())
    assert os.getpriority(os.PRIO_PROCESS, key_watch) == min(os.getpriority(os.PRIO_PROCESS, supervisor()) + 10, 19)


def test_the_socket_is_for_postfix_and_nobody_else(box: Box) -> None:
    status = SOCKET.stat()
    assert (SOCKET.owner(), SOCKET.group(), status.st_mode & 0o777) == ("mailnotary", "postfix", 0o660)
    directory = SOCKET.parent
    assert (directory.owner(), directory.group(), directory.stat().st_mode & 0o7777) == (
        "mailnotary",
        "postfix",
        0o2750,
    )
    # So that it has to be in the queue directory:
    assert run("postconf", "-F", f"{HOST}:{PORT}/inet/chroot").split()[-1] == "y"


def test_mail_that_comes_in_is_checked(box: Box) -> None:
    said = results(box.deliver(signed()).data)
    assert said.count("spf=pass") == 1
    assert "dkim=pass" in said
    assert "dmarc=pass" in said
    said = results(box.deliver(f"Authentication-Results: {MTA}; dkim=pass\r\n".encode() + MESSAGE).data)
    assert "dkim=none" in said


def test_mail_that_goes_out_is_signed(box: Box) -> None:
    assert box.signatures() == ["rsa2026"]


def test_mail_of_the_sendmail_command_is_signed(box: Box) -> None:
    run("sendmail", "-f", "alice@example.org", "bob@rcpt.example", stdin=MESSAGE.replace(b"\r\n", b"\n"))
    mail = box.sink.wait_for(lambda mail: mail.recipients == ("bob@rcpt.example",))
    assert verified(mail.data, box.dns.zone) == (["pass rsa2026"], [True])


def test_a_reload_takes_a_new_key(box: Box) -> None:
    before = workers()
    run("mailnotary", "keygen", "example.org", "ed2026", "--algorithm", "ed25519")
    box.dns.publish("example.org")
    reload()
    assert notified("RELOADING=1") == 1
    assert notified("READY=1") == 3, "two starts and a reload"
    assert shown("StatusText").endswith("configuration 2")
    wait_for(lambda: box.signatures() == ["rsa2026", "ed2026"], "both keys sign")
    assert workers() == before, "no process was replaced"


def test_a_reload_of_a_broken_configuration_fails_and_the_old_one_stays(box: Box) -> None:
    good = CONFIG.read_text()
    CONFIG.write_text(good + "workerz: 3\n")
    said = run("systemctl", "reload", "mailnotary", check=False)
    assert "failed" in said
    line = good.count("\n") + 1
    assert f"{CONFIG}:{line}:1: " in journal()
    assert shown("ActiveState") == "active"
    run("systemctl", "kill", "--kill-who=main", "--signal=HUP", "mailnotary")  # those who don't ask systemctl
    wait_for(lambda: "reload refused" in journal(), "the reload was refused")
    wait_for(lambda: "faulty" in shown("StatusText"), "the status says so")
    assert box.signatures() == ["rsa2026", "ed2026"]
    CONFIG.write_text(good)
    reload()
    assert "faulty" not in shown("StatusText")


def test_a_worker_killed_under_load_costs_no_message(box: Box) -> None:
    with Load(box) as load:
        load.wait(20)
        for _ in range(3):
            victim = workers()[0]
            os.kill(victim, signal.SIGKILL)
            load.wait(20)
            assert victim not in workers()
    load.check(["rsa2026", "ed2026"])
    assert shown("NRestarts") == "0"


def test_all_processes_killed_under_load_are_started_again(box: Box) -> None:
    with Load(box) as load:
        load.wait(10)
        run("systemctl", "kill", "--kill-who=all", "--signal=KILL", "mailnotary")
        wait_for(lambda: shown("NRestarts") == "1" and serving(), "systemd started it again")
        load.wait(20)
    load.check(["rsa2026", "ed2026"])


def test_a_restart_under_load_costs_no_message(box: Box) -> None:
    with Load(box) as load:
        load.wait(10)
        run("systemctl", "restart", "mailnotary")
        load.wait(20)
    load.check(["rsa2026", "ed2026"])


def test_a_supervisor_that_hangs_is_replaced_by_systemds_watchdog(box: Box) -> None:
    drop_in = Path("/run/systemd/system/mailnotary.service.d/test.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=2\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "mailnotary")
    before = supervisor()
    time.sleep(5)
    assert supervisor() == before, "one that does not hang stays"
    assert notified("WATCHDOG=1")
    os.kill(before, signal.SIGSTOP)
    # Stopped, it can't end by itself: nobody but the watchdog has it replaced.
    wait_for(lambda: serving() and supervisor() not in (0, before), "the watchdog had it replaced", 60)
    assert box.signatures() == ["rsa2026", "ed2026"]
    drop_in.unlink()
    run("systemctl", "daemon-reload")


def test_a_stop_ends_sessions_in_time_and_then_mail_waits(box: Box) -> None:
    with box.client(login="alice") as quick, box.client(login="alice") as slow:
        for client in (quick, slow):
            client.command("MAIL FROM:<alice@example.org>")
            client.command("RCPT TO:<user@rcpt.example>")
        began = time.monotonic()
        stop = threading.Thread(target=run, args=("systemctl", "stop", "mailnotary"))
        stop.start()
        wait_for(lambda: shown("SubState") == "stop-sigterm", "it is stopping")
        code, text = quick.data(MESSAGE)
        assert code == 250, text
        stop.join()
        took = time.monotonic() - began
        print(f"\nstopped after {took:.1f} s, with a session open that never ends")
        assert took < 3 + 5, "stop_seconds, and the margin after which workers are killed"
        assert slow.data(MESSAGE)[0] == 451
    assert notified("STOPPING=1") >= 2
    assert shown("Result") == "success"
    assert not SOCKET.exists()
    assert box.send(MESSAGE, login="alice")[0] == 451
    assert box.send(MESSAGE)[0] == 451
    run("systemctl", "start", "mailnotary")
    assert box.signatures() == ["rsa2026", "ed2026"]
    mail = box.sink.wait_for(lambda mail: b"rsa2026" in mail.data)
    assert verified(mail.data, box.dns.zone)[1] == [True, True], "the one that was under way"


def test_after_a_start_with_a_broken_configuration_it_runs_once_the_file_is_mended(box: Box) -> None:
    good = CONFIG.read_text()

    def doctor_tells() -> bool:
        findings = json.loads(run("mailnotary", "doctor", "--json", check=False))["findings"]
        return any(one["check"] == "service" and one["level"] == "error" for one in findings)

    try:
        CONFIG.write_text(good + "workerz: 3\n")
        assert "failed" in run("systemctl", "restart", "mailnotary", check=False)
        assert box.send(MESSAGE, login="alice")[0] == 451
        wait_for(doctor_tells, "the doctor looks while it is not just being started again")
    finally:
        CONFIG.write_text(good)
    wait_for(serving, "it starts by itself once the file is fixed", 30)
    assert box.signatures() == ["rsa2026", "ed2026"]


def test_the_page_reads_the_history_and_no_key(box: Box) -> None:
    configure(history={"enabled": True})
    reload()
    code, text = box.send(signed())
    assert code == 250, text
    check_page(text.rpartition(" ")[2])
    last = run("systemd-analyze", "security", "--no-pager", "mailnotary-web.service").strip().splitlines()[-1]
    print("\n" + last)
    assert float(re.findall(r"\b\d+\.\d+\b", last)[0]) <= 2.0
    run("systemctl", "stop", "mailnotary-web")
    assert box.signatures() == ["rsa2026", "ed2026"]


def test_reports_are_sent_by_their_unit_in_its_sandbox(box: Box) -> None:
    reports = {"enabled": True, "org_name": "Box", "from": "dmarc@example.org", "submit_to": f"{HOST}:{PORT}"}
    configure(history={"enabled": True}, reports=reports)
    reload()
    wait_for(HISTORY.exists, "there is a history")
    store = Store.open(str(HISTORY))
    fill(store, [asking(verified_message(), "mailto:reader@example.org")], time.time() // 86_400 * 86_400 - 3600)
    store.close()
    run("systemd-analyze", "verify", "mailnotary-reports.timer")
    run("systemctl", "start", "mailnotary-reports")
    assert shown("Result", "mailnotary-reports") == "success"
    mail = box.sink.wait_for(lambda one: one.recipients == ("reader@example.org",))
    assert mail.sender == ""
    ours, dkimpys = verified(mail.data, box.dns.zone)
    assert ours
    assert all(one.startswith("pass ") for one in ours), ours
    assert all(dkimpys), dkimpys
    last = run("systemd-analyze", "security", "--no-pager", "mailnotary-reports.service").strip().splitlines()[-1]
    print("\n" + last)
    assert float(re.findall(r"\b\d+\.\d+\b", last)[0]) <= 2.0
    run("systemctl", "enable", "--now", "mailnotary-reports.timer")
    assert shown("ActiveState", "mailnotary-reports.timer") == "active"
    assert "rsa2026" in box.signatures()


def test_keys_are_replaced_by_their_unit_in_its_sandbox(box: Box) -> None:
    keystore = Path("/etc/mailnotary/keystore.yaml")
    before = keystore.read_text()
    configure(rotation={"rotate_every": "30d"})
    for key in keystore.parent.rglob("*.pem"):
        os.utime(key, (0, 0))  # long due
    run("systemd-analyze", "verify", "mailnotary-rotate.timer")
    run("systemctl", "start", "mailnotary-rotate")
    assert shown("Result", "mailnotary-rotate") == "success"
    assert "pending" in keystore.read_text()  # made; without `publish:` it waits for its record
    last = run("systemd-analyze", "security", "--no-pager", "mailnotary-rotate.service").strip().splitlines()[-1]
    print("\n" + last)
    assert float(re.findall(r"\b\d+\.\d+\b", last)[0]) <= 3.0  # it is root's
    run("systemctl", "enable", "--now", "mailnotary-rotate.timer")
    assert shown("ActiveState", "mailnotary-rotate.timer") == "active"
    assert box.signatures() == ["rsa2026", "ed2026"]
    run("systemctl", "disable", "--now", "mailnotary-rotate.timer")
    configure(rotation={})
    keystore.write_text(before)
    reload()


def test_the_doctor_finds_nothing_wrong(box: Box) -> None:
    said = json.loads(run("mailnotary", "doctor", "--json", check=False))
    for one in said["findings"]:
        print(f"\n{one}", end="")
    assert not [one for one in said["findings"] if one["level"] == "error"]
    assert {"check": "service", "level": "ok", "text": "mailnotary.service is running", "advice": ""} in said[
        "findings"
    ]


def test_nothing_in_the_log_is_a_defect(box: Box) -> None:
    text = journal()
    for word in ("Traceback", "defect", "Operation not permitted", "SECCOMP"):
        assert word not in text

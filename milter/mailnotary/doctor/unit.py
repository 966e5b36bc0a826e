"""The systemd unit: whether it runs, stays up, starts at boot, and runs the code that is installed."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import mailnotary
from mailnotary.config.settings import ReportsSettings
from mailnotary.doctor.finding import Finding, error, ok, warning
from mailnotary.doctor.listeners import PROC, process
from mailnotary.doctor.machine import command

UNIT = "mailnotary.service"
TIMER = "mailnotary-reports.timer"
_PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,MainPID"
_LOGS = "`journalctl -u mailnotary -n 50` says why"
_PACKAGE = Path(mailnotary.__file__).parent


def read(name: str = UNIT) -> dict[str, str]:
    """What `systemctl show` reports of a unit; empty without systemd."""
    text = command("systemctl", "show", f"--property={_PROPERTIES}", name) or ""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value for name, _, value in pairs}


def check(unit: Mapping[str, str]) -> Iterator[Finding]:
    """The state of the unit, as `read` has it. Nothing where the unit is not installed."""
    if unit.get("LoadState") not in {"loaded", "masked"}:
        return
    yield from _running(unit)
    if unit.get("UnitFileState") in {"disabled", "masked"}:
        state = unit["UnitFileState"]
        advice = f"systemctl {'enable' if state == 'disabled' else 'unmask'} mailnotary"
        yield warning("service", f"{UNIT} is {state}: nothing starts it at boot", advice)
    pid = unit.get("MainPID", "0")
    if pid.isdigit() and int(pid):
        yield from age(int(pid), _PACKAGE)


def reports(settings: ReportsSettings, timer: Mapping[str, str]) -> Iterator[Finding]:
    """Whether reports are sent, if they are wanted. `timer` is what `read` has of it; nothing where it is not
    installed, for there something else may run the command."""
    if not settings.enabled or timer.get("LoadState") != "loaded":
        return
    if timer.get("ActiveState") == "active":
        yield ok("reports", f"{TIMER} is running")
    else:
        text = f"reports.enabled is true, but {TIMER} is not running: no reports are sent"
        yield warning("reports", text, f"systemctl enable --now {TIMER}")


def _running(unit: Mapping[str, str]) -> Iterator[Finding]:
    active, sub, result = (unit.get(name, "") for name in ("ActiveState", "SubState", "Result"))
    restarts = unit.get("NRestarts", "0")
    if sub == "auto-restart":
        yield error("service", f"{UNIT} ends as soon as it is started ({result}), {restarts} times so far", _LOGS)
    elif active == "failed":
        yield error("service", f"{UNIT} has failed ({result})", f"{_LOGS}; then systemctl restart mailnotary")
    elif active == "active":
        yield ok("service", f"{UNIT} is running")
        if restarts.isdigit() and int(restarts):
            yield warning("service", f"it has been restarted {restarts} times since it was started", _LOGS)
    elif active in {"inactive", "deactivating"}:
        yield warning("service", f"{UNIT} is not running", "systemctl start mailnotary")


def age(pid: int, package: Path) -> Iterator[Finding]:
    """Whether the daemon was started before the files of its package were installed. Says nothing of a daemon that
    runs from elsewhere."""
    program = process(pid).arguments[:1]
    if not program or not program[0].startswith(f"{sys.prefix}/"):
        return
    began, installed = _began(pid), max((file.stat().st_mtime for file in package.rglob("*.py")), default=0.0)
    if began is not None and began < installed:
        text = "the daemon runs older code than is installed: it was not restarted since the last upgrade"
        yield warning("service", text, "systemctl restart mailnotary")


def _began(pid: int) -> float | None:
    """When a process was started, in seconds since 1970 (proc(5): the 22nd field of stat, and btime)."""
    with suppress(OSError, ValueError, IndexError):
        ticks = int((PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
        boot = next(line for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))
        return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return None

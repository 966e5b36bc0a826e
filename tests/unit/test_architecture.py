"""The rules that keep the rooms apart."""

import re
import subprocess
import sys
from importlib import import_module

import pytest

from support import exceptions, rooms
from support.rooms import PACKAGE, ROOT, imports


def test_the_directory_milter_is_no_package() -> None:
    # pymilter installs a C module that is itself called `milter`; a package of that name in front of it breaks it.
    assert not list((ROOT / "milter").glob("__init__.*"))


@pytest.mark.parametrize(
    "engine",
    [
        "spf",
        "dkim",
        "arc",
        "dkim2",
        "dmarc",
        "authres",
        "mail",
        "mail.address",
        "resolver",
        "crypto",
        "status",
        "domain",
    ],
)
def test_engines_are_a_library_that_needs_no_milter_and_no_settings(engine: str) -> None:
    program = (
        f"import sys, mailnotary.{engine}\n"
        "bad = {'milter', 'Milter', 'rich', 'mailnotary.config', 'mailnotary.session'}\n"
        "sys.exit(' '.join(sorted(bad & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("milter", "daemon/adapter.py"),
        ("dns", "resolver/"),
        ("Crypto", "crypto/"),
        ("cryptography", "crypto/"),
        ("rich", "cli/"),
        ("flask", "web/"),
        ("waitress", "web/"),
    ],
)
def test_each_library_has_one_room(library: str, allowed: str) -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(name == library or name.startswith(library + ".") for name in imports(path))
    }
    assert users, f"nothing imports {library}: is the rule still needed?"
    assert {user for user in users if not user.startswith(allowed)} == set()


# The rooms from the bottom up; each imports only from the floors below and from its own.
FLOORS = [
    {"errors", "status", "domain", "escape", "files", "frozen", "remember"},
    {"crypto", "mail", "resolver"},
    {"dkim", "spf"},
    {"arc", "dkim2", "dmarc", "config"},
    {"authres", "keys", "sources"},
    {"session", "importing", "publish"},
    {"history", "metrics"},
    {"daemon", "reports"},
    {"doctor", "web"},
    {"cli"},
]


def test_imports_point_one_way() -> None:
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    arrows = rooms.arrows()
    assert set(arrows) == set(floor_of), "FLOORS names each room once"
    wrong = [f"{room} imports {other}" for room in arrows for other in arrows[room] if floor_of[other] > floor_of[room]]
    assert wrong == []
    rooms.floors(arrows)  # no circles


def test_the_pictures_of_the_rooms_and_the_exceptions_are_current() -> None:
    page = rooms.PAGE.read_text("utf-8")
    assert rooms.drawn(page) == page, "make rooms"


def test_every_exception_has_a_place_in_the_tree_and_says_what_it_means() -> None:
    found = exceptions.classes()
    assert len(found) > 20, "the search does not find them any more"
    assert exceptions.strays(found) == []
    assert [name for name, raised in found.items() if not raised.meaning] == []


def test_the_names_of_key_records_have_one_home() -> None:
    users = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "_domainkey" in path.read_text()}
    assert users == {"dkim/publish.py"}


def test_no_pattern_repeats_a_group_possessively() -> None:
    # Python before 3.11.5, Debian 12's among them, goes on behind what the group took before it failed: gh-106052.
    wrong = [str(path) for path in PACKAGE.rglob("*.py") if re.search(r"(?<![\\(])\)[*+?]\+", path.read_text("utf-8"))]
    assert wrong == []


# The constants behind the table of bounds: a row that names the module has each of them.
BOUNDS = {
    "arc.fields": ["MAX_INSTANCE"],
    "arc.verify": ["MAX_KEY_BITS", "MAX_INTERNATIONAL", "MAX_KEYS"],
    "authres.build": ["MAX_DKIM", "MAX_SEALERS"],
    "crypto.keys": ["MAX_RSA_BITS"],
    "daemon.log": ["MAX_LINE"],
    "dkim.check": ["MAX_RECORDS"],
    "dkim.signature": ["MAX_SIGNATURE_OCTETS", "MAX_SIGNED_NAMES"],
    "dkim.tags": ["MAX_TAGS"],
    "dkim.verify": ["MAX_PARSED", "MAX_SIGNATURES", "MAX_KEYS"],
    "dkim2.chain": ["MAX_HOPS", "MAX_CHAIN_OCTETS", "MAX_PARTS", "MAX_SHOWN"],
    "dkim2.fields": ["MAX_VALUES", "MAX_RECIPIENTS", "MAX_PATH"],
    "dkim2.hashes": ["MAX_RECREATED", "LINE_OCTETS"],
    "dkim2.recipe": ["MAX_STEPS", "MAX_LINES"],
    "dkim2.verify": ["MAX_HASHED_OCTETS", "MAX_VERIFIED"],
    "dmarc.discover": ["MAX_LABELS", "MAX_QUESTIONS"],
    "dmarc.policy_record": ["MAX_TEXT", "MAX_TAGS", "MAX_URIS"],
    "history.candidates": ["MAX_CANDIDATES"],
    "history.keeper": ["MAX_WAITING"],
    "history.story": ["MAX_STORY", "MAX_SIGNATURES", "MAX_URIS", "MAX_URI"],
    "mail.address": ["MAX_FROM_FIELDS"],
    "mail.mailboxes": ["MAX_TOKENS"],
    "mail.cfws": ["MAX_COMMENT_DEPTH"],
    "mail.claims": ["MAX_FIELD", "MAX_CLAIMS", "MAX_SIGNS", "MAX_LISTS"],
    "publish.publisher": ["PROGRAM_SECONDS"],
    "publish.rotation": ["MAX_BEGUN"],
    "publish.tsig": ["MAX_FILE"],
    "reports.bounce": ["MAX_LOOKED_AT"],
    "reports.destinations": ["MAX_DESTINATIONS"],
    "reports.facts": ["MAX_SIGNATURES", "MAX_SEALS"],
    "reports.gather": ["MAX_KEPT", "MAX_OCTETS"],
    "reports.parse": ["MAX_RECORDS", "MAX_ELEMENTS_DEEP", "MAX_VALUE", "MAX_RESULTS"],
    "reports.summary": ["MAX_DOMAINS", "MAX_SOURCES"],
    "reports.unpack": ["MAX_UNPACKED", "MAX_PARTS", "MAX_DEPTH"],
    "reports.xml": ["MAX_NAME", "MAX_TEXT"],
    "history.replays": ["MAX_SEEN", "MAX_REPEATED", "MAX_NETWORKS", "MAX_WAITING", "MAX_USES"],
    "resolver.burst": ["MAX_QUESTIONS"],
    "resolver.authority": ["MAX_SERVERS", "MAX_ADDRESSES"],
    "resolver.dns": ["MAX_BEGUN", "BEGUN_SECONDS"],
    "resolver.records": ["MAX_RECORDS", "MAX_TEXT"],
    "resolver.server": ["MAX_STRAYS"],
    "resolver.types": ["MAX_CNAMES"],
    "session.budget": ["MAX_FIELDS", "MAX_DELETIONS", "KEY_OCTETS"],
    "session.outcome": ["MAX_LISTED"],
    "session.policy": ["MAX_CLAIMED", "MAX_REPLY_TEXT"],
    "session.received": ["MAX_RELAYS"],
    "sources.asking": ["MAX_DOMAINS"],
    "sources.entry": ["MAX_KEYS"],
    "spf.limits": [
        "MAX_AHEAD",
        "MAX_LOOKUPS",
        "MAX_MX_HOSTS",
        "MAX_PTR_NAMES",
        "MAX_RECORD_OCTETS",
        "MAX_VOID_LOOKUPS",
    ],
    "spf.record": ["MAX_RECORD"],
    "web.application": ["PAGE_ROWS"],
    "web.comparison": ["MAX_DOMAINS"],
    "web.incoming": ["MAX_FILES"],
}


@pytest.mark.parametrize("module", BOUNDS)
def test_the_table_of_bounds_has_the_numbers_of_the_code(module: str) -> None:
    page = rooms.PAGE.read_text("utf-8")
    rows = [line for line in page.splitlines() if f"`{module.replace('.', '/')}.py`" in line and line.startswith("|")]
    bounds = " ".join(row.split("|")[2] for row in rows)
    for name in BOUNDS[module]:
        value = getattr(import_module(f"mailnotary.{module}"), name)
        texts = [str(value), *(f"{value // 1024**power} {unit}" for power, unit in ((1, "KiB"), (2, "MiB")))]
        assert any(re.search(rf"\b{text}\b", bounds) for text in texts), f"{module}.{name} is {value}: {bounds}"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_the_pages_for_developers_name_modules_that_exist(page: str) -> None:
    named = set(re.findall(r"`([a-z0-9_/]+\.py)`", (ROOT / page).read_text("utf-8")))
    assert [path for path in sorted(named) if not (ROOT / path).exists() and not (PACKAGE / path).exists()] == []


def test_the_project_names_no_absolute_path_of_a_workplace() -> None:
    needle = ("/" + "work/").encode()
    names = (
        "milter",
        "tests",
        "config",
        "systemd",
        ".ci",
        "Makefile",
        "Dockerfile",
        "pyproject.toml",
        *(path.name for path in ROOT.glob("*.md")),
    )
    files = [path for name in names for path in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])]
    found = [path for path in files if path.is_file() and path.suffix != ".pyc" and needle in path.read_bytes()]
    assert found == []

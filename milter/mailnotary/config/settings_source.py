"""The section `source:` of mailnotary.yaml: a program or a database that has keys, beside the keystore."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from mailnotary.config.source import SourceSettings
from mailnotary.config.values import Section, boolean, list_of, optional, scalar, seconds, text
from mailnotary.config.yaml_nodes import Report, YamlMapping, YamlNode, shown

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
MARIADB: Final = "mariadb"
_SCHEMES: Final = {
    "sqlite": SQLITE,
    "postgresql": POSTGRESQL,
    "postgres": POSTGRESQL,
    "mariadb": MARIADB,
    "mysql": MARIADB,
}
_EXAMPLE: Final = "a URL like postgresql://mail@db.example.org/mail, mariadb://mail@127.0.0.1/mail or sqlite:///PATH"
_HIDDEN: Final = re.compile(r"(?<=://)(?P<user>[^/@:]*):[^/]*(?=@)|(?<=[?&]password=)[^&]*", re.IGNORECASE)


def database_of(url: str) -> str:
    """Which kind of database a URL of `source.sql` names: SQLITE, POSTGRESQL or MARIADB."""
    return _SCHEMES[url.partition(":")[0]]


def without_password(url: str) -> str:
    """A URL of `source.sql` as messages show it."""
    return _HIDDEN.sub(lambda match: f"{match['user']}:***" if match["user"] is not None else "***", url)


def _url(text: str) -> str:
    """Errors never quote the part before the `@`: it may hold a password."""
    if text.partition("://")[0] not in _SCHEMES or not text.isprintable():
        raise ValueError(f"this does not name a database: write {_EXAMPLE}")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f"the host or the port of the URL cannot be read: write {_EXAMPLE}") from None
    if database_of(text) == SQLITE:
        if parts.netloc or not Path(unquote(parts.path)).is_absolute() or parts.path == "/" or parts.query:
            raise ValueError("SQLite has a file and nothing else: write sqlite:///PATH, like sqlite:///var/lib/mail.db")
    elif not parts.path.strip("/"):
        raise ValueError(f"the URL names no database: write {_EXAMPLE}")
    return text


def _absolute(node: YamlNode, report: Report) -> Path:
    path = Path(text("a file like /etc/mailnotary/source.password")(node, report))
    if not path.is_absolute():
        raise ValueError(f"{shown(str(path))} is not an absolute path: write one that begins with /")
    return path


def _program(node: YamlNode, report: Report) -> tuple[str, ...]:
    words = list_of(text("a word"), "/usr/local/bin/dkim-keys")(node, report)
    if words and not Path(words[0]).is_absolute():
        raise ValueError(f"{shown(words[0])} is not an absolute path: write one like [/usr/local/bin/dkim-keys]")
    return words


def _query(text: str) -> str:
    """The text goes into a question of ours, so it is one SELECT, without the semicolon at its end."""
    query = text.strip().removesuffix(";").strip()
    if not query.lower().startswith(("select", "with", "table")):
        raise ValueError(
            f"{shown(text)} is not a query: write one like SELECT domain, selector, private_key AS key ..."
        )
    return query


_query_text = scalar(_query, "a query like SELECT domain, selector, private_key AS key FROM dkim")
READER = Section(
    SourceSettings,
    program=_program,
    sql=optional(scalar(_url, _EXAMPLE)),
    password_file=optional(_absolute),
    query=optional(_query_text),
    changes=optional(_query_text),
    seal_file=optional(_absolute),
    check_seconds=seconds(1, 86_400),
    changes_seconds=seconds(0.2, 86_400),
    timeout=seconds(1, 3600),
    may_shrink=boolean(),
)


def check(source: SourceSettings, root: YamlMapping, report: Report) -> None:
    """Reports what does not go together in the section."""
    section = root.get("source")
    if not isinstance(section, YamlMapping):
        return
    given = {key.text for key, _ in section.items}
    if source.program and source.sql:
        report.error(section.get("sql"), "there is one source of keys: remove `program` or `sql`")
    elif source.sql and not source.query:
        report.error(
            section.get("sql"), "sql needs the query that gives domain, selector and key: add `query: SELECT ...`"
        )
    for name in ("query", "changes", "password_file"):
        if name in given and getattr(source, name) is not None and not source.sql:
            report.error(section.get(name), f"{name} is for a database: add `sql: URL`, or remove this")
    if source.sql and source.password_file and database_of(source.sql) == SQLITE:
        report.error(section.get("password_file"), "SQLite has no passwords: remove this")
    if source.sql and without_password(source.sql) != source.sql:
        report.warn(
            section.get("sql"),
            "whoever can read this file has the database's password: write it into a file that only the daemon can "
            "read, and name that in password_file",
        )

"""The tables of the store, and how a store of an older version becomes one of this version.

`message`: one row a message. `id` is the time of its end in microseconds, times 4096, plus a number that tells those of
one microsecond apart; so the primary key is in the order of time, and no column or index for the time is needed.
`traffic` and `domain_day` are sums over messages, so that a picture of a month is read from thousands of rows and not
from millions: by hour and outcome; by day, author domain, DMARC result and action, for messages that did not pass.
`agreement` counts, by day, what another filter found and what we did.
`report_source` has one row, a name for this store: reports of a receiver whose hosts keep several stores differ in it.
`report_period`: who makes the reports of a period, which begins at a second since the epoch, and until when nobody else
does. `report`: one row for each mail, by period, policy domain and destination. `report_refused`: destinations whose
mail came back.
`signature_use`: from which networks a DKIM signature came that came from several, when first and last, and how often.
The partial indexes leave out what most mail is: they cost little, and the rest is what people look for.
"""

from typing import Final

METHODS: Final = ("spf", "dkim", "dmarc")  # whose results are columns, each with an index
UNREMARKABLE: Final = ("", "none", "pass")  # results that the indexes below leave out
SHIFT: Final = 12  # bits of an id below its microseconds
DAY_IDS: Final = 86_400_000_000 << SHIFT  # ids of one day (UTC)


def remarkable(method: str) -> str:
    """The condition, in SQL, of the indexes that leave out the results of `UNREMARKABLE`: a search that is to use them
    has the same."""
    return " AND ".join(f"{method} <> '{word}'" for word in UNREMARKABLE)


_TABLES_1: Final = """
CREATE TABLE message (
    id {id},
    host TEXT NOT NULL,
    queue_id TEXT NOT NULL,
    client TEXT NOT NULL,
    domain TEXT NOT NULL,
    mode TEXT NOT NULL,
    action TEXT NOT NULL,
    spf TEXT NOT NULL,
    dkim TEXT NOT NULL,
    dmarc TEXT NOT NULL,
    compared TEXT NOT NULL,
    differs TEXT NOT NULL,
    story TEXT NOT NULL{key}
);
CREATE INDEX message_queue_id ON message (queue_id, id);
CREATE INDEX message_client ON message (client, id);
CREATE INDEX message_domain ON message (domain, id);
CREATE INDEX message_dmarc ON message (dmarc, id) WHERE dmarc NOT IN ('', 'none', 'pass');
CREATE INDEX message_action ON message (action, id) WHERE action <> 'accept';
CREATE INDEX message_differs ON message (id) WHERE differs <> '';
CREATE TABLE traffic (
    hour BIGINT NOT NULL,
    host TEXT NOT NULL,
    mode TEXT NOT NULL,
    action TEXT NOT NULL,
    spf TEXT NOT NULL,
    dkim TEXT NOT NULL,
    dmarc TEXT NOT NULL,
    messages BIGINT NOT NULL,
    PRIMARY KEY (hour, host, mode, action, spf, dkim, dmarc)
){without_rowid};
CREATE TABLE agreement (
    day BIGINT NOT NULL,
    host TEXT NOT NULL,
    other TEXT NOT NULL,
    method TEXT NOT NULL,
    theirs TEXT NOT NULL,
    ours TEXT NOT NULL,
    messages BIGINT NOT NULL,
    PRIMARY KEY (day, host, other, method, theirs, ours)
){without_rowid};
CREATE TABLE domain_day (
    day BIGINT NOT NULL,
    host TEXT NOT NULL,
    domain TEXT NOT NULL,
    dmarc TEXT NOT NULL,
    action TEXT NOT NULL,
    messages BIGINT NOT NULL,
    PRIMARY KEY (day, host, domain, dmarc, action)
){without_rowid}
"""

_REPORTS_2: Final = """
CREATE TABLE report_source (id TEXT NOT NULL);
INSERT INTO report_source VALUES ({random});
CREATE TABLE report_period (
    period BIGINT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    lease BIGINT NOT NULL,
    done BIGINT NOT NULL
){without_rowid};
CREATE TABLE report (
    period BIGINT NOT NULL,
    domain TEXT NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due BIGINT NOT NULL,
    message_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (period, domain, destination)
){without_rowid};
CREATE INDEX report_message_id ON report (message_id);
CREATE TABLE report_refused (
    destination TEXT NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL,
    reason TEXT NOT NULL
){without_rowid}
"""

# For searches by the result of SPF or DKIM, and for the reasons why a domain fails.
_INDEXES_3: Final = """
CREATE INDEX message_spf ON message (spf, id) WHERE spf NOT IN ('', 'none', 'pass');
CREATE INDEX message_dkim ON message (dkim, id) WHERE dkim NOT IN ('', 'none', 'pass');
CREATE INDEX message_failed ON message (domain, dmarc, id) WHERE dmarc NOT IN ('', 'none', 'pass')
"""

_USES_4: Final = """
CREATE TABLE signature_use (
    signature TEXT NOT NULL,
    network TEXT NOT NULL,
    domain TEXT NOT NULL,
    selector TEXT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    PRIMARY KEY (signature, network)
){without_rowid};
CREATE INDEX signature_use_last ON signature_use (last)
"""

# With NOT IN, SQLite makes a temporary table of the words for each index and each row that it inserts: a third of all.
_INDEXES_5: Final = ";".join(
    f"DROP INDEX message_{name}; CREATE INDEX message_{name} ON message ({columns}, id) WHERE {remarkable(method)}"
    for name, columns, method in (
        ("spf", "spf", "spf"),
        ("dkim", "dkim", "dkim"),
        ("dmarc", "dmarc", "dmarc"),
        ("failed", "domain, dmarc", "dmarc"),
    )
)

# Domains and clients come in no order, so a message would be at home on a page of its own, anywhere in an index of
# millions. Of one day's part few pages are written, again and again. In SQLite, each index ends with the id anyway.
_DAYS_6: Final = ";".join(
    f"DROP INDEX message_{name}; CREATE INDEX message_{name} ON message ((id / {DAY_IDS}), {name}{{then_id}})"
    for name in ("domain", "client")
)

# The script that makes version n + 1 of version n.
MIGRATIONS: Final = (_TABLES_1, _REPORTS_2, _INDEXES_3, _USES_4, _INDEXES_5, _DAYS_6)
VERSION: Final = len(MIGRATIONS)

"""The public suite of DKIM2, which follows an earlier draft: draft-ietf-dkim-dkim2-spec-04."""

import json
from pathlib import Path
from typing import Any

import pytest

from mailnotary import dkim2
from mailnotary.mail.message import crlf
from mailnotary.resolver import ZoneResolver
from support.backends import each_backend

__all__ = ["each_backend"]
pytestmark = pytest.mark.usefixtures("each_backend")

SUITE = Path(__file__).parents[1] / "data" / "mail-auth" / "dkim2"
CASES: list[dict[str, Any]] = json.loads((SUITE / "cases.json").read_text("utf-8"))
NOW = max(case["now"] for case in CASES)
MADE_NOW = 1740000000  # when the messages beside the cases were signed
ZONE = ZoneResolver(
    {
        f"{name}.{domain}": [{"TXT": text.encode()} for _, text in records]
        for domain, names in json.loads((SUITE / "dns.json").read_text("utf-8")).items()
        for name, records in names.items()
    }
)
# Where draft -06 is right and the suite, of an earlier one, is not. "MUST ignore any signatures using algorithms that
# they do not implement" (3.4): nothing is left that could be found incorrect (11.1 FAIL), and nothing that verifies.
DIFFERENT = {"algorithm_only_future": "permerror"}


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 40
    assert len(list((SUITE / "messages").glob("*.eml"))) == 51


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_case(case: dict[str, Any]) -> None:
    message = (SUITE / "messages" / case["file"]).read_bytes()
    result = dkim2.verify(
        message, ZONE, mail_from=case["mail_from"], rcpt_to=case["rcpt_to"], now=case["now"] or NOW
    )  # 0: none is given
    assert result.status == DIFFERENT.get(case["name"], case["expected"]), result.reason
    assert bool(result.reason) == (result.status != "pass")


@pytest.mark.parametrize(
    "name", sorted({path.name for path in SUITE.glob("messages/*.eml")} - {case["file"] for case in CASES})
)
def test_what_other_signers_made(name: str) -> None:
    result = dkim2.verify(crlf((SUITE / "messages" / name).read_bytes()), ZONE, now=MADE_NOW)
    # "The angle brackets MUST be included" (8.5), which that signer did not yet do.
    assert result.status == ("permerror" if name == "simple-rsa1024.eml" else "pass"), result.reason

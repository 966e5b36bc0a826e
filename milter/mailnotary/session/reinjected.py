"""Mail that comes back to us: from a content filter, a redirecting mailbox, `sendmail -G -i`. It looks like our own,
for it comes from this machine, but the Authentication-Results field of its first passage tells whose it is."""

from collections.abc import Collection, Sequence

from mailnotary import authres
from mailnotary.authres import AuthenticationResults, AuthresError
from mailnotary.domain import is_subdomain, to_ascii
from mailnotary.mail.address import Author
from mailnotary.mail.message import HeaderField
from mailnotary.session.budget import readable
from mailnotary.status import DmarcStatus


def verdict_against(fields: Sequence[HeaderField], author: Author, ids: Collection[str]) -> str:
    """What a field in the name of one of `ids` says against signing for the author, "" where none says anything. What
    others wrote in our name is deleted before ours is inserted (RFC 8601 section 5), so such a field is our verdict; a
    host of our own networks that makes one up can only keep its own mail from being signed. The text holds nothing of
    the message's but a result word."""
    values = [field.value for field in fields if field.key == b"authentication-results"]
    for value in values[: readable(values)]:  # ours is above all that the sender wrote
        if authres.claims(value, ids):
            try:
                against = _against(authres.parse(value), author)
            except AuthresError:  # a filter has damaged it: that it was there says enough
                against = "a field that can't be parsed"
            if against:
                return against
    return ""


def _against(field: AuthenticationResults, author: Author) -> str:
    if any((result.method, result.result) == ("auth", "pass") for result in field.results):
        return ""  # written for a user's mail, which is ours
    verdicts = [result for result in field.results if result.method == "dmarc"]
    if not verdicts:
        return "results without dmarc"
    for verdict in verdicts:
        passed = verdict.result == DmarcStatus.PASS
        # Without header.from no author domain could be made out (RFC 9989 section 5.3.1): that is said of every one.
        if not _concerns(verdict.get("header", "from"), author) or (passed and author.problem is None):
            continue
        return f"dmarc={verdict.result}"
    return ""


def _concerns(judged: str | None, author: Author) -> bool:
    """Whether a verdict on the domain `judged` is one on this author. Not where a mailing list of ours has put its own
    address into From since; but Postfix's masquerade_domains makes a host's name there into the domain above it."""
    name, domain = to_ascii(judged or ""), author.domain
    return not name or domain is None or is_subdomain(name, domain) or is_subdomain(domain, name)

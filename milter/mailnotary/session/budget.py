"""What one message may cost: its header, the changes made to it, and DNS, each billed to the message's `Budget`. At the
end of each share there is a result word, a refusal or a deferral; reaching it never makes a verdict milder. CPU time is
not measured, since a verdict must not depend on how busy the machine is: it follows from these bounds and those of the
engines (ARCHITECTURE.md lists all), and tests/chaos/cost.py looks for messages that take too much.

Of DNS, each part of a message's checks has a share of its own, so that none uses up another's: what a sender makes slow
or large at a name of the sender's choice does not keep the policy of the abused domain from being followed."""

from collections.abc import Sequence

from mailnotary.resolver import MessageResolver, Resolver, Share
from mailnotary.spf import MAX_QUESTIONS as SPF_QUESTIONS

# A field takes some 250 octets of memory beside its own, and limits.header_bytes does not count those. Real mail has up
# to 200 fields, and 50 ARC sets (RFC 8617 section 4.2.1) are 150 more. Beyond: refused.
MAX_FIELDS = 1000
# Each is a change that the MTA makes to the message that it holds: Postfix looks for the field from the top again, and
# its cleanup(8) ends the process at some ten thousand. An honest message has none in our name. Beyond: refused.
MAX_DELETIONS = 100
# Octets of the Authentication-Results fields that are read, from the top: real mail has some 10 KB. To read one that is
# made for it takes half a microsecond an octet. Beyond: taken for forged.
RESULTS_OCTETS = 32 * 1024
_INTERNATIONAL_OCTETS = 512  # what a field that is not in US-ASCII is billed beside its own: IDNA takes up to 0.3 ms

# Octets of DNS replies: real mail reads some 10 KB in all (an SPF chain of ten records, each 500; the TXT records
# beside one up to 5 KB; keys and policies 500 each). To read one takes about 0.05 us, to parse it for SPF ten times.
MAIL_FROM = Share(questions=SPF_QUESTIONS, octets=128 * 1024)  # all that RFC 7208 4.6.4 allows; at its end temperror
HELO = Share(questions=SPF_QUESTIONS, octets=64 * 1024)  # the same; such a name has few terms
KEY_OCTETS = 64 * 1024  # of all keys; one question each. At its end the signature is temperror
# The authors' walks and those of what passed beside them (RFC 9989 4.10: eight questions a walk at most). At its end
# what is not known is temperror, see `dmarc.evaluate`.
POLICY = Share(questions=64, octets=64 * 1024)
# The newest message signature of a chain and 50 seals, a question each. Older signatures have the same keys as a rule;
# beyond it they are not checked, which only oldest-pass tells. At its end arc=fail.
ARC = Share(questions=51, octets=64 * 1024)
DKIM2 = Share(questions=64, octets=64 * 1024)  # of all keys of a chain, a question each. At its end it is temperror


class Budget:
    """What one message may still cost. `mail_from`, `helo`, `keys`, `policy`, `arc`, `dkim2` are its shares of DNS;
    their time is what their users give them. `too_large` says why its header is not read, "" while it is."""

    __slots__ = (
        "_arc",
        "_dkim2",
        "_fields",
        "_header_bytes",
        "_octets",
        "_resolver",
        "helo",
        "keys",
        "mail_from",
        "policy",
        "too_large",
    )

    def __init__(self, resolver: Resolver, *, header_bytes: int, max_signatures: int) -> None:
        self._resolver = resolver
        self._header_bytes = header_bytes
        self._octets = header_bytes  # that are left
        self._fields = MAX_FIELDS  # that are left
        self.too_large = ""
        self.mail_from = MessageResolver(resolver, MAIL_FROM)
        self.helo = MessageResolver(resolver, HELO)
        self.keys = MessageResolver(resolver, Share(max_signatures, KEY_OCTETS))
        self.policy = MessageResolver(resolver, POLICY)
        self._arc: MessageResolver | None = None
        self._dkim2: MessageResolver | None = None

    @property
    def arc(self) -> MessageResolver:
        """Its share for ARC: most mail has no chain, and needs none."""
        if self._arc is None:
            self._arc = MessageResolver(self._resolver, ARC)
        return self._arc

    @property
    def dkim2(self) -> MessageResolver:
        """Its share for DKIM2, in the same way."""
        if self._dkim2 is None:
            self._dkim2 = MessageResolver(self._resolver, DKIM2)
        return self._dkim2

    def take_field(self, octets: int) -> bool:
        """Bills a header field of so many octets; False if the header is too large from here on."""
        self._octets -= octets
        self._fields -= 1
        if self._octets >= 0 and self._fields >= 0:
            return True
        if not self.too_large:
            over = self._octets < 0
            self.too_large = (
                f"is larger than {self._header_bytes} octets" if over else f"has more than {MAX_FIELDS} fields"
            )
        return False

    @property
    def questions(self) -> int:
        """How many different questions were asked, begun ones among them."""
        shares = self.mail_from, self.helo, self.keys, self.policy, self._arc, self._dkim2
        return len(set().union(*[share.asked for share in shares if share is not None]))


def readable(values: Sequence[bytes]) -> int:
    """How many of a message's Authentication-Results fields are read, from the top."""
    left = RESULTS_OCTETS
    for number, value in enumerate(values):
        left -= len(value) + (0 if value.isascii() else _INTERNATIONAL_OCTETS)
        if left < 0:
            return number
    return len(values)

"""What one message may cost, all of its bounds in one place. At the end of each stands a result word, a refusal or a
deferral; reaching one never makes a verdict milder.

Of DNS, each part of a message's checks has a share of its own, so that none uses up another's: what a sender makes slow
or large at a name of the sender's choice does not keep the policy of the abused domain from being followed."""

from mailnotary.resolver import MessageResolver, Resolver, Share
from mailnotary.spf import MAX_QUESTIONS as SPF_QUESTIONS

# A field takes some 250 octets of memory beside its own, and limits.header_bytes does not count those. Real mail has up
# to 200 fields, and 50 ARC sets (RFC 8617 section 4.2.1) are 150 more. Beyond: refused.
MAX_FIELDS = 1000
# Each is a change that the MTA makes to the message that it holds: Postfix looks for the field from the top again, and
# its cleanup(8) ends the process at some ten thousand. An honest message has none in our name. Beyond: refused.
MAX_DELETIONS = 100

# Octets of DNS replies: real mail reads some 10 KB in all (an SPF chain of ten records, each 500; the TXT records
# beside one up to 5 KB; keys and policies 500 each). To read one takes about 0.05 us, to parse it for SPF ten times.
MAIL_FROM = Share(questions=SPF_QUESTIONS, octets=128 * 1024)  # all that RFC 7208 4.6.4 allows; at its end temperror
HELO = Share(questions=SPF_QUESTIONS, octets=64 * 1024)  # the same; such a name has few terms
KEY_OCTETS = 64 * 1024  # of all keys; one question each. At its end the signature is temperror
# The authors' walks and those of what passed beside them (RFC 9989 4.10: eight questions a walk at most). At its end
# what is not known is temperror, see `dmarc.evaluate`.
POLICY = Share(questions=64, octets=64 * 1024)


class Budget:
    """The shares that one message has of DNS: `mail_from`, `helo`, `keys`, `policy`. Their time is what their users
    give them."""

    __slots__ = ("helo", "keys", "mail_from", "policy")

    def __init__(self, resolver: Resolver, *, max_signatures: int) -> None:
        self.mail_from = MessageResolver(resolver, MAIL_FROM)
        self.helo = MessageResolver(resolver, HELO)
        self.keys = MessageResolver(resolver, Share(max_signatures, KEY_OCTETS))
        self.policy = MessageResolver(resolver, POLICY)

    @property
    def questions(self) -> int:
        """How many different questions were asked, begun ones among them."""
        return len(self.mail_from.asked | self.helo.asked | self.keys.asked | self.policy.asked)

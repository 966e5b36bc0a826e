"""Changes TXT records in DNS by dynamic updates (RFC 2136), authenticated with TSIG (RFC 8945).

An update says what must be there beforehand, and the server makes it whole or not at all: two hosts that publish at the
same name at once can't overwrite each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.update
from dns.rdataclass import IN
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.TXT import TXT

from mailnotary.errors import DnsError
from mailnotary.escape import printable
from mailnotary.resolver.authority import Address, records, shown
from mailnotary.resolver.wire import parse_name

ALGORITHMS: Final = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")  # RFC 8945 section 6: not weaker
MAX_STRING: Final = 255  # octets of one character string (RFC 1035 section 3.3)


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A secret that a server shares with us, under a name that both know."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


class UpdateError(DnsError):
    """The server did not make the update; the text says why and what to do. `conflict`: its records are not those that
    it was told to find."""

    def __init__(self, text: str, *, conflict: bool = False) -> None:
        super().__init__(text)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class Change:
    """TXT records of a name to remove and to add, each whole. `before` are those that must be there, all of them; None:
    whatever is there."""

    name: str
    add: tuple[bytes, ...] = ()
    remove: tuple[bytes, ...] = ()
    before: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class Primary:
    """The server of a zone that takes updates, and the key for it. `timeout` in seconds for one exchange."""

    address: Address
    zone: str
    key: TsigKey
    timeout: float = 10.0

    def texts(self, name: str) -> tuple[bytes, ...]:
        """The TXT records of a name in the zone. Raises UpdateError, also where the name is an alias."""
        owner = _name(name)
        question = dns.message.make_query(owner, RdataType.TXT, use_edns=True)
        question.flags &= ~dns.flags.RD
        reply = self._exchange(question)
        if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise UpdateError(self._meaning(reply.rcode()))
        if not reply.flags & dns.flags.AA:
            raise UpdateError(f"{self} is not authoritative for {self.zone}: check `server` and `zone`")
        if records(reply, owner, RdataType.CNAME, str):
            raise UpdateError(f"{name} is an alias (CNAME) in {self.zone}: remove it, or publish where it leads to")
        return records(reply, owner, RdataType.TXT, lambda record: b"".join(record.strings))

    def change(self, changes: Sequence[Change], ttl: int) -> None:
        """Makes all changes or none. Raises UpdateError."""
        message = dns.update.UpdateMessage(_name(self.zone))
        for change in changes:
            name = _name(change.name)
            if change.add:
                # Otherwise the server would ignore the record without a word (RFC 2136 section 3.4.2.2).
                message.absent(name, RdataType.CNAME)
            if change.before == ():
                message.absent(name, RdataType.TXT)
            elif change.before is not None:
                message.present(name, dns.rdataset.from_rdata_list(0, [_txt(text) for text in change.before]))
            for text in change.remove:
                message.delete(name, _txt(text))
            for text in change.add:
                message.add(name, ttl, _txt(text))
        code = self._exchange(message).rcode()
        if code != dns.rcode.NOERROR:
            raise UpdateError(self._meaning(code), conflict=code in _CONFLICTS)

    def __str__(self) -> str:
        return f"the nameserver {shown(self.address)}"

    def _exchange(self, message: dns.message.Message) -> dns.message.Message:
        key = dns.tsig.Key(_name(self.key.name), self.key.secret, dns.name.from_text(self.key.algorithm))
        message.use_tsig(key)
        host, port = self.address
        try:
            reply = dns.query.tcp(message, host, self.timeout, port=port)
        except (dns.tsig.PeerError, dns.tsig.BadSignature, dns.tsig.BadTime) as error:
            raise UpdateError(self._refusal(error)) from error
        except (dns.message.UnknownTSIGKey, dns.tsig.BadKey, dns.tsig.BadAlgorithm) as error:
            raise UpdateError(f"{self} answers with another TSIG key than {self.key.name}") from error
        except dns.exception.Timeout:
            raise UpdateError(f"{self} did not answer within {self.timeout:g} s") from None
        except OSError as error:
            raise UpdateError(f"{self} can't be reached: {error.strerror or error}") from error
        except (dns.exception.DNSException, ValueError, EOFError) as error:
            raise UpdateError(self._unusable(printable(str(error), 200))) from error
        if not reply.had_tsig:  # RFC 8945 section 5.3: it could be anybody's; older dnspython lets it pass
            raise UpdateError(self._unusable("without TSIG"))
        return reply

    def _unusable(self, why: str) -> str:
        """Knot answers without TSIG where it does not have the zone, and, since 3.4, where it refuses an update."""
        return (
            f"{self} gave an unusable answer ({why}): if it has no TSIG, the server does not know the TSIG key "
            f"{self.key.name} with {self.key.algorithm}, does not let it change {self.zone}, or is not its primary"
        )

    def _refusal(self, error: Exception) -> str:
        """Why a TSIG was not accepted (RFC 8945 section 5.2)."""
        if isinstance(error, dns.tsig.PeerBadKey):
            return (  # Knot says this, too, where it knows the key and its acl does not name it
                f"{self} does not know the TSIG key {self.key.name} with {self.key.algorithm}, or does not let it "
                f"change {self.zone}: give both the same name and algorithm, and allow updates with it"
            )
        if isinstance(error, dns.tsig.PeerBadTime | dns.tsig.BadTime):
            return f"{self} has a clock that differs too much from this host's: set both by NTP"
        if isinstance(error, dns.tsig.PeerBadSignature | dns.tsig.BadSignature):
            return f"{self} has another secret for the TSIG key {self.key.name}: copy the file anew"
        return f"{self} does not accept the TSIG key {self.key.name}: {error}"

    def _meaning(self, code: dns.rcode.Rcode) -> str:
        word = dns.rcode.to_text(code)
        if code in _CONFLICTS:
            return f"the records in {self.zone} are not those that were expected ({word}): somebody else changed them"
        meaning = {
            dns.rcode.REFUSED: f"does not let {self.key.name} change it: allow that in its update-policy (BIND) or acl "
            "(Knot)",
            dns.rcode.NOTAUTH: "is not its primary: write the address of the primary as `server`",
            dns.rcode.NOTZONE: "has no such name in it: check `zone`",
            dns.rcode.NOTIMP: "does not take dynamic updates (RFC 2136)",
        }.get(code, "could not do it: see its log")
        return f"{self} was asked to change {self.zone} and answers {word}: it {meaning}"


_CONFLICTS: Final = (dns.rcode.YXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET)


def _txt(text: bytes) -> TXT:
    return TXT(IN, RdataType.TXT, [text[i : i + MAX_STRING] for i in range(0, len(text), MAX_STRING)] or [b""])


def _name(text: str) -> dns.name.Name:
    parsed = parse_name(text)
    if parsed is None:
        raise UpdateError(f"{printable(text)} is not a name that DNS can have")
    return dns.name.from_wire(parsed, 0)[0]

"""The result of verifying the DKIM2 chain of a message."""

from dataclasses import dataclass, field

from mailnotary.status import Dkim2Status

DRAFT = "draft-ietf-dkim-dkim2-spec-06"  # what this room implements; drafts change, and so will this


@dataclass(frozen=True, slots=True)
class Change:
    """What a hop says it changed. Of a header field: its `name` in lower case, the values `before` and `after`, the
    lowest in the header first. Of the body: the name is "", `before` are lines that the hop took out or replaced,
    `after` are numbers of lines that it put in, such as "4-7". Both are cut to a few of the first."""

    name: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignatureValue:
    """One value of s= (8.9): `key_bits` is the key's size (0 if there was none), `status` "none" for an algorithm that
    is unknown, and for a value that was not looked at."""

    selector: str
    algorithm: str
    key_bits: int = 0
    status: Dkim2Status = Dkim2Status.NONE


@dataclass(frozen=True, slots=True)
class Hop:
    """One DKIM2-Signature, as its signer wrote it: `number` i=, `revision` m=, `domain` d= in lower case, `timestamp`
    t= (seconds since 1970), `mail_from` and `rcpt_to` mf= and rt= with their angle brackets, `next_domain` nd= (""
    where there is none), `flags` f=. `status` and `reason` are this hop's own, "none" where it was not looked at.
    `changes` are what its Message-Instance fields say. `body_known` is False where the hop declares that the body
    before it cannot be recreated (5.2)."""

    number: int
    revision: int
    domain: str
    timestamp: int
    mail_from: str = ""
    rcpt_to: tuple[str, ...] = ()
    next_domain: str = ""
    flags: tuple[str, ...] = ()
    values: tuple[SignatureValue, ...] = ()
    status: Dkim2Status = Dkim2Status.NONE
    reason: str = ""
    changes: tuple[Change, ...] = ()
    body_known: bool = True


@dataclass(frozen=True, slots=True)
class Dkim2Result:
    """The whole chain's result (11.1). `domain` is d= of the first signature, the originator's ("" where it could not
    be read); only a pass proves it. `reason` is one sentence for an admin, in the draft's words where it has some;
    `brief` the reason in our own fixed words, for a header that others trust. `hops` are the signatures, i=1 first."""

    status: Dkim2Status
    domain: str = ""
    reason: str = ""
    hops: tuple[Hop, ...] = ()
    brief: str = field(default="", metadata={"json": False})

"""The keys of DKIM2 signatures (draft-ietf-dkim-dkim2-spec-06 sections 3.6 and 11.5). They are those of
DKIM, in the same places, and are read by RFC 6376 3.6.1: what their own draft (draft-ietf-dkim-dkim2-dns) adds is not
followed."""

from mailnotary.crypto import PublicKey
from mailnotary.dkim.key import KeyRecordError, parse_key_record
from mailnotary.dkim.publish import key_record_name
from mailnotary.dkim2.fields import KEY_TYPES, Dkim2Error, Signature, Value
from mailnotary.resolver import DnsTempError, RecordKind, Resolver
from mailnotary.status import Dkim2Status

MIN_RSA_BITS = 1024  # 3.2
EXPONENT = 65537  # "MUST use a public exponent of 65537" (3.2)


def key_name(signature: Signature, value: Value) -> str:
    """Where DNS has a value's key."""
    return key_record_name(signature.domain, value.selector)


def key_for(signature: Signature, value: Value, resolver: Resolver) -> PublicKey:
    """The key of one value; raises Dkim2Error. h= of its record is ignored (11.5), and so are s= and t=, which speak of
    services and of i= of DKIM."""

    def error(text: str, brief: str, status: Dkim2Status = Dkim2Status.PERMERROR) -> Dkim2Error:
        reason = f"DKIM2-Signature i={signature.number} public key {value.selector} {text}"
        return Dkim2Error(reason, brief, signature.number, status)

    try:
        texts = resolver.lookup(key_name(signature, value), RecordKind.TXT).texts
    except DnsTempError as failed:
        raise error(f"could not be fetched: {failed.reason}", "DNS gives no key", Dkim2Status.TEMPERROR) from failed
    if not texts:
        raise error("does not exist", "no key in DNS")
    if len(texts) > 1:
        raise error("has multiple records", "several key records")
    try:
        public = parse_key_record(texts[0]).public
    except KeyRecordError as failed:
        if failed.brief == "key revoked":
            raise error("has been revoked", failed.brief) from failed
        raise error(f"has a syntax error: {failed}", failed.brief) from failed
    if public.algorithm != KEY_TYPES[value.algorithm]:
        raise error("algorithm mismatch", "the key is for another algorithm")
    if public.algorithm == "rsa" and public.bits < MIN_RSA_BITS:
        raise error(f"is too short: {public.bits} bits, {MIN_RSA_BITS} are needed", "RSA key is too short")
    if public.algorithm == "rsa" and public.exponent != EXPONENT:
        raise error(f"has an exponent other than {EXPONENT}", "RSA exponent is not usable")
    return public

"""A domain's SPF and DMARC records in DNS, and their weaknesses."""

from dataclasses import dataclass

from mailnotary import spf
from mailnotary.cli.breadth_text import advice as broad
from mailnotary.dmarc import Policy
from mailnotary.dmarc.discover import Discovery, TooManyQuestionsError
from mailnotary.dmarc.policy_record import PolicyRecord
from mailnotary.escape import printable
from mailnotary.resolver import DnsTempError, RecordKind, Resolver
from mailnotary.spf.breadth import Breadth, breadth
from mailnotary.spf.record import (
    All,
    Ptr,
    SpfRecord,
    SpfRecordError,
    almost_spf,
    ignored_mechanisms,
    is_spf_record,
    parse_record,
)
from mailnotary.status import SpfStatus

MAX_LOOKUPS = 10  # RFC 7208 section 4.6.4
NEAR_LOOKUPS = 8  # from here on one more service can be one too many
NOBODY = "240.0.0.1"  # no host has an address of 240.0.0.0/4 (RFC 1112 section 4)


@dataclass(frozen=True, slots=True)
class View:
    """The records in DNS, and advice, one sentence each. `lookups`: as SPF's limit counts them; `breadth`: how many
    addresses it lets in. Both None for DMARC."""

    name: str
    records: tuple[str, ...]
    advice: tuple[str, ...]
    lookups: int | None = None
    breadth: Breadth | None = None


def spf_view(domain: str, resolver: Resolver) -> View:
    """The SPF records of a domain. Never raises."""
    try:
        published = resolver.lookup(domain, RecordKind.TXT).texts
    except DnsTempError as error:
        return View(domain, (), (f"DNS did not answer: {error.reason}",))
    texts = [text for text in published if is_spf_record(text)]
    shown = tuple(printable(text, 2000) for text in texts)
    if not texts and (almost := [printable(text, 2000) for text in published if almost_spf(text)]):
        advice = "receivers do not see an SPF record in this: it must begin with v=spf1 and a space (RFC 7208 4.5)"
        return View(domain, tuple(almost), (advice,))
    if not texts:
        advice = (
            f'there is no SPF record: publish one at {domain}, "v=spf1 mx -all" if the MX hosts alone send its mail'
        )
        return View(domain, shown, (advice,))
    if len(texts) > 1:
        return View(domain, shown, (f"{len(texts)} SPF records are an error (RFC 7208 3.2): merge them into one",))
    try:
        parsed = parse_record(texts[0])
    except SpfRecordError as error:
        return View(domain, shown, (f"the record has a syntax error, so it protects nothing: {error}",))
    # An address that no host has makes the check evaluate the whole record, so that all look-ups are counted.
    result = spf.check_host(NOBODY, domain, f"postmaster@{domain}", helo=domain, resolver=resolver)
    ignored = [
        f"{printable(term, 80)} is ignored, because only a modifier has an equals sign: write a colon"
        for term in ignored_mechanisms(texts[0])
    ]
    told = breadth(domain, resolver)
    return View(domain, shown, (*ignored, *_spf_advice(parsed, result, told)), result.lookups, told)


def _spf_advice(record: SpfRecord, result: spf.SpfResult, told: Breadth) -> list[str]:
    advice = []
    ends = [directive for directive in record.directives if isinstance(directive.mechanism, All)]
    if ends:
        advice += _all_advice(ends[0].result)
        if ends[0] is not record.directives[-1]:
            advice.append("nothing after all is ever evaluated: move all to the end")
    elif record.redirect is None:
        advice.append("there is no all at the end, so any other client is neutral: end with -all, or ~all at first")
    if any(isinstance(directive.mechanism, Ptr) for directive in record.directives):
        advice.append("ptr is slow and should not be used (RFC 7208 5.5): name the networks instead")
    if result.status is SpfStatus.PERMERROR:
        advice.append(f"the check ends in permerror, so the record protects nothing: {result.reason}")
    elif result.status is SpfStatus.TEMPERROR:
        advice.append(f"the check could not be completed: {result.reason}")
    elif result.status is SpfStatus.PASS and not any(end.result is SpfStatus.PASS for end in ends):
        advice.append(f"it lets anybody send: {result.mechanism}")
    elif result.lookups >= NEAR_LOOKUPS:
        advice.append(f"{result.lookups} of at most {MAX_LOOKUPS} DNS look-ups are used (RFC 7208 4.6.4)")
    if result.status is not SpfStatus.PASS:  # else it lets in everybody
        advice += broad(told)
    return advice


def _all_advice(result: SpfStatus) -> list[str]:
    if result is SpfStatus.PASS:
        return ["+all lets anybody send as this domain: end with -all"]
    if result is SpfStatus.NEUTRAL:
        return ["?all says nothing about other clients: end with -all, or ~all at first"]
    return []


def dmarc_view(domain: str, resolver: Resolver) -> View:
    """The DMARC record that applies to a domain. Never raises."""
    name = f"_dmarc.{domain}"
    try:
        walk = Discovery(resolver).walk(domain)
    except DnsTempError as error:
        return View(name, (), (f"DNS did not answer: {error.reason}",))
    except TooManyQuestionsError:
        return View(name, (), ("the name has too many labels",))
    own = walk.steps[0]
    step = walk.policy_step
    if step is None or step.record is None:
        if "DMARC records" in own.found:
            return View(name, (), (f"{own.found} (RFC 9989 4.10): leave one",))
        reports = f"rua=mailto:postmaster@{domain}"
        return View(
            name, (), (f'there is no DMARC record: publish one at {name}, first "v=DMARC1; p=none; {reports}"',)
        )
    advice = _dmarc_advice(step.record, inherited=step is not own)
    if step is not own and "DMARC records" in own.found:
        advice.insert(0, f"{name} has {own.found} (RFC 9989 4.10): leave one")
    return View(step.name, (step.record.text,), tuple(advice))


def _dmarc_advice(record: PolicyRecord, *, inherited: bool) -> list[str]:
    advice = [f"the record has an error: {problem}" for problem in record.problems]
    if not record.usable:
        return [*advice, "the record has no effect as it is"]
    policy = record.subdomain_policy if inherited else record.policy
    tag = "sp" if inherited and record.subdomain_policy is not record.policy else "p"
    if policy is Policy.NONE:
        advice.append(
            f"{tag}=none protects nothing: once the reports show no genuine mail that fails, change it to quarantine"
        )
    elif record.testing:
        advice.append("t=y asks receivers not to apply the policy yet: remove it when the reports are good")
    if not inherited and record.policy is not Policy.NONE and record.subdomain_policy is Policy.NONE:
        advice.append("sp=none lets anybody forge every subdomain: remove it")
    if not record.rua:
        advice.append("there is no rua=, so you get no reports about mail that fails: add rua=mailto:ADDRESS")
    return advice


def as_json(view: View) -> dict[str, object]:
    """A view for JSON."""
    fields: dict[str, object] = {"name": view.name, "records": list(view.records), "advice": list(view.advice)}
    if view.lookups is not None:
        fields["lookups"] = view.lookups
    if view.breadth is not None:
        fields["breadth"] = view.breadth
    return fields

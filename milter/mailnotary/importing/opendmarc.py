"""OpenDMARC's configuration: opendmarc.conf(5), version 1.4."""

from pathlib import Path

from mailnotary.config.settings import Mode
from mailnotary.importing.common import ELSEWHERE, note_rest, put_authserv_id, put_log, put_socket
from mailnotary.importing.conf import Conf, DataSet, file_items, read_conf
from mailnotary.importing.draft import Draft
from mailnotary.importing.hosts import OPENDMARC, read_hosts
from mailnotary.importing.source import Directive, SourceError
from mailnotary.importing.text import flow

_NO_REPORTS = "it sends no failure reports"
_NO_ARC = "ARC is not verified: name forwarders in dmarc.exempt"
_ELSEWHERE = ELSEWHERE | {
    "authservidwithjobid": "the authserv-id is the name alone (RFC 8601 section 2.5)",
    "copyfailuresto": "no recipients are added: `mailnotary history --result dmarc=fail` lists such mail",
    "domainwhitelist": _NO_ARC,
    "domainwhitelistfile": _NO_ARC,
    "domainwhitelistsize": _NO_ARC,
    "failurereports": _NO_REPORTS,
    "failurereportsbcc": _NO_REPORTS,
    "failurereportsonnone": _NO_REPORTS,
    "failurereportssentby": _NO_REPORTS,
    "reportcommand": _NO_REPORTS,
    "historyfile": "history: {enabled: true} keeps each message's outcome, and `mailnotary reports` sends the reports",
    "ignoremailto": "it is about the history file, which is not written",
    "publicsuffixlist": "no list is needed: the organizational domain is found in DNS (RFC 9989 section 4.10)",
    "recordallmessages": "the history has all messages",
    "rejectstring": "the reply's text cannot be changed",
    "softwareheader": "it adds no such field",
    "spfignoreresults": "SPF is always checked here; results of others are never believed",
    "spfselfvalidate": "SPF is always checked here",
}
_TAKEN = {
    "authservid",
    "dnstimeout",
    "holdquarantinedmessages",
    "ignoreauthenticatedclients",
    "ignorehosts",
    "ignoremailfrom",
    "rejectfailures",
    "rejectmultivaluefrom",
    "requiredheaders",
    "socket",
    "syslog",
    "trustedauthservids",
    "umask",
}


def read(path: Path) -> Draft:
    """Reads opendmarc.conf and its list of hosts. Raises SourceError."""
    conf = read_conf(path)
    draft = Draft("OpenDMARC", path, Mode.VERIFY)
    put_socket(draft, conf)
    _policy(draft, conf)
    _authors(draft, conf)
    _clients(draft, conf)
    put_authserv_id(draft, conf)
    timeout = conf.get("DNSTimeout")
    draft.put_number(timeout, "dns.timeout", lambda n: str(n) if 1 <= n <= 60 else None, "must be 1 to 60")
    put_log(draft, conf)
    note_rest(draft, conf.directives, _TAKEN, _ELSEWHERE)
    return draft


def _policy(draft: Draft, conf: Conf) -> None:
    """What a domain's policy does. Without RejectFailures OpenDMARC refuses nothing, puts nothing off, and, whatever
    its manual says, holds nothing (1.4.2, tried)."""
    reject, hold = conf.is_on("RejectFailures"), conf.is_on("HoldQuarantinedMessages")
    rejecting, holding = conf.get("RejectFailures"), conf.get("HoldQuarantinedMessages")
    draft.put("dmarc.mode", "enforce" if reject else "monitor", rejecting, beside="reject: tag")
    if reject:
        draft.put("dmarc.reject", "reject", rejecting)
        draft.put("dmarc.quarantine", "hold" if hold else "tag", holding)
        draft.put("dmarc.temperror", "tempfail", rejecting, beside="mode: enforce, reject: tag")
    elif holding is not None and hold:
        draft.note(
            holding, "OpenDMARC holds nothing without RejectFailures: write dmarc.quarantine: hold to have it so"
        )


def _authors(draft: Draft, conf: Conf) -> None:
    """What mail gets that does not have one author. OpenDMARC lets it pass unless told otherwise; ours treats it as
    p=reject, and a strict copy of the rest would let a second From field evade all policies."""
    several, required = conf.get("RejectMultiValueFrom"), conf.get("RequiredHeaders")
    if several is not None and conf.is_on("RejectMultiValueFrom"):
        draft.put("authors.several_domains", "reject", several)
    if required is not None and conf.is_on("RequiredHeaders"):
        for key in ("none", "several_fields", "unparsable"):
            draft.put(f"authors.{key}", "reject", required)
        draft.note(required, "of the fields, only From is counted (dmarc.authors); a missing Date is accepted")


def _clients(draft: Draft, conf: Conf) -> None:
    """Whose mail OpenDMARC does not judge: it is still checked here, but its failures have no consequences."""
    draft.ignored = ["127.0.0.1"]  # opendmarc.conf(5), IgnoreHosts
    hosts = conf.get("IgnoreHosts")
    if hosts is not None:
        spared = read_hosts(_host_list(draft, conf, hosts).items, hosts.name, OPENDMARC)
        draft.notes += spared.notes
        draft.ignored = spared.networks
        draft.put("dmarc.exempt", f"{{networks: {flow(spared.networks)}}}", hosts)
    domains = conf.get("IgnoreMailFrom")
    if domains is not None:
        why = "it is about these names alone, and dmarc.domains would exempt all names below them as well"
        draft.note(domains, f"not taken over: {why}")
    clients = conf.get("IgnoreAuthenticatedClients")
    if clients is not None and not conf.is_on("IgnoreAuthenticatedClients"):
        draft.put("sign_for.authenticated", "false", clients)
    trusted = conf.get("TrustedAuthservIDs")
    if trusted is not None:
        why = "no results of others are believed. While both run, write these names as history.compare_with"
        draft.note(trusted, why)


def _host_list(draft: Draft, conf: Conf, directive: Directive) -> DataSet:
    try:
        return DataSet(tuple(file_items(conf.path(directive.value))))
    except SourceError as error:
        draft.note(directive, str(error))
        return DataSet(())

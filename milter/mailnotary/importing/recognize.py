"""Which program a configuration file is for."""

import re
from pathlib import Path

from mailnotary.importing.source import SourceError, read_lines

_OPENDKIM = (
    "mode canonicalization domain selector keyfile keytable signingtable internalhosts externalignorelist peerlist mta "
    "macrolist signheaders omitheaders oversignheaders minimumkeybits signaturealgorithm signaturettl subdomains "
    "multiplesignatures removearfrom requiresafekeys authservid nameservers dnstimeout maximumheaders ldapbindpassword "
    "maximumsignaturestoverify syslog socket umask userid include basedirectory on-internalerror on-default "
    "on-badsignature"
)
_OPENDMARC = (
    "rejectfailures ignorehosts trustedauthservids spfselfvalidate spfignoreresults historyfile publicsuffixlist "
    "failurereports failurereportsbcc failurereportsonnone failurereportssentby ignoreauthenticatedclients "
    "ignoremailfrom ignoremailto holdquarantinedmessages requiredheaders rejectmultivaluefrom recordallmessages "
    "authservidwithjobid copyfailuresto domainwhitelist domainwhitelistfile reportcommand"
)
_DKIMPY = "keyfileed25519 keytableed25519 selectored25519 macrolistverify dnsoverride inthosts"
_POLICYD_SPF = (
    "helo_reject mail_from_reject permerror_reject temperror_defer skip_addresses testonly defaultseedonly whitelist "
    "helo_whitelist domain_whitelist domain_whitelist_ptr reject_not_pass_domains header_type authserv_id no_mail "
    "helo_pass_restriction mail_from_pass_restriction prospective void_limit lookup_time debuglevel"
)
_POSTFIX = (
    "myhostname mydestination mynetworks smtpd_milters non_smtpd_milters inet_interfaces smtpd_banner queue_directory "
    "compatibility_level milter_default_action smtpd_recipient_restrictions smtpd_relay_restrictions alias_maps "
    "myorigin"
)
_RSPAMD = (
    "dkim_signing options allow_envfrom_empty allow_hdrfrom_mismatch allow_hdrfrom_mismatch_local "
    "allow_hdrfrom_mismatch_sign_networks allow_hdrfrom_multiple allow_username_mismatch auth_only path path_map "
    "selector_map sign_authenticated sign_local sign_networks sign_inbound try_fallback use_domain use_esld use_redis "
    "check_pubkey local_addrs domain selector signing_table key_table sign_condition use_domain_sign_local"
)
_PERL = re.compile(
    r"^\s*(use strict|dkim_key\s*\(|@(mynetworks|dkim_signature_options_bysender_maps)\b|\$enable_dkim_)"
)
_PERL_NAME = re.compile(r"^\s*[$@%](mydomain|myhostname|policy_bank|inet_socket_port|max_servers|daemon_user)\b.*=")
_SERVICE = re.compile(r"^\S+\s+(inet|unix|unix-dgram|fifo|pass)(\s+[yn-]){3}\s+\S+\s+\S+\s+\S")
_ASSIGNMENT = re.compile(r"^([A-Za-z][\w-]*)\s*=(?!>)")
_UCL = re.compile(r"^\s*([a-z_]+)\s*(=.*[;{\[]?\s*$|\{|\[|\")")


def recognize(path: Path) -> str:
    """The program that a file is for: a key of `_READERS`. Raises SourceError for any other file."""
    lines = [line for line in read_lines(path) if line.strip() and not line.lstrip().startswith("#")]
    if any(_PERL.match(line) or _PERL_NAME.match(line) for line in lines):
        return "Amavis"
    if any(_SERVICE.match(line) for line in lines):
        return "Postfix"
    assigned = {match[1].lower() for line in lines if (match := _ASSIGNMENT.match(line))}
    braces = any(line.rstrip().endswith((";", "{", "}", "[")) for line in lines)
    if {match[1] for line in lines if (match := _UCL.match(line))} & set(_RSPAMD.split()):
        return "rspamd"
    for program, words in (("Postfix", _POSTFIX), ("policyd-spf", _POLICYD_SPF)):
        if assigned & set(words.split()):
            return program
    names = {line.split(maxsplit=1)[0].lower() for line in lines} if not braces else set()
    for program, words in (("OpenDMARC", _OPENDMARC), ("dkimpy-milter", _DKIMPY), ("OpenDKIM", _OPENDKIM)):
        if names & set(words.split()):
            return _by_name(path) if program == "OpenDKIM" else program
    raise SourceError(
        f"{path}: not a configuration that is known: name the main file of OpenDKIM, OpenDMARC, policyd-spf, "
        "dkimpy-milter, Amavis or rspamd (dkim_signing.conf), not one of its tables"
    )


def _by_name(path: Path) -> str:
    """OpenDKIM, or a relative whose file has nothing that OpenDKIM's could not have."""
    name = path.name.lower()
    if "dmarc" in name:
        return "OpenDMARC"
    return "dkimpy-milter" if "dkimpy" in str(path).lower() else "OpenDKIM"

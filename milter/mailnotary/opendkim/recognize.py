"""Which program a configuration file is for."""

from mailnotary.opendkim.conf import Conf

_OPENDKIM = (
    "mode canonicalization domain selector keyfile keytable signingtable internalhosts externalignorelist peerlist mta "
    "macrolist signheaders omitheaders oversignheaders minimumkeybits signaturealgorithm signaturettl subdomains "
    "multiplesignatures removearfrom"
)
_OTHERS = {
    "OpenDMARC": "rejectfailures ignorehosts trustedauthservids spfselfvalidate spfignoreresults historyfile "
    "publicsuffixlist failurereports ignoreauthenticatedclients",
    "policyd-spf": "helo_reject mail_from_reject permerror_reject temperror_defer skip_addresses testonly whitelist",
    "Postfix (main.cf)": "myhostname mydestination mynetworks smtpd_milters inet_interfaces smtpd_banner "
    "queue_directory compatibility_level",
    "Amavis": "use $mydomain $myhostname dkim_key(",
    "rspamd": "dkim_signing { selector_map path_map sign_local allow_username_mismatch use_domain",
}


def other_program(conf: Conf) -> str:
    """The program whose file this seems to be, or "another program"; "" for OpenDKIM's, or for an empty file."""
    names = {directive.key.rstrip("=:") for directive in conf.directives}
    for program, words in _OTHERS.items():  # first, for some have a "selector" or "domain" as well
        if names & set(words.split()):
            return program
    if not names or names & set(_OPENDKIM.split()):
        return ""
    spaced = all(directive.value.startswith(("=", "{")) for directive in conf.directives)
    return "another program" if spaced else ""

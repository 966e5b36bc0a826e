"""The session: one message's way from the events to the actions."""

import tracemalloc
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailnotary import dkim
from mailnotary.config.keystore import Allow, KeyState, StoredKey
from mailnotary.config.settings import (
    AuthenticationResultsSettings,
    DmarcAction,
    DmarcMode,
    DmarcSettings,
    Exempt,
    InternalError,
    Limits,
    Mode,
    OnRefused,
    Settings,
    SigningSettings,
    SpfAction,
    SpfSettings,
)
from mailnotary.mail.message import parse
from mailnotary.resolver import Answer, DnsTempError, RecordKind, ZoneResolver
from mailnotary.session.budget import MAX_DELETIONS, MAX_FIELDS, readable
from mailnotary.session.message import Environment
from mailnotary.session.outcome import MessageMode, MessageRecord
from mailnotary.session.policy import InsertHeader, Quarantine, Reply, wants_mail_reply
from mailnotary.session.session import Session
from support.mail import BAD_IP, GOOD_IP, MESSAGE, NOW, Played, keystore, signed, zone

AR = "Authentication-Results"


def with_fields(*fields: bytes, message: bytes = MESSAGE) -> bytes:
    return b"".join(field + b"\r\n" for field in fields) + message


# --- mail from elsewhere ---


def test_good_mail_passes_everything_in_one_header_on_top() -> None:
    outcome = Played().play(signed())
    assert outcome.reply is None
    assert [(one.index, one.name) for one in outcome.inserts] == [(0, AR)]
    value = outcome.inserted[AR]
    assert value.startswith("mx.example.net;")
    for part in ("spf=pass", "dkim=pass", "dmarc=pass", "smtp.mailfrom=example.org", "header.from=example.org"):
        assert part in value
    assert outcome.record.mode is MessageMode.VERIFY
    assert [one.status for one in outcome.record.results.signatures] == ["pass"]
    assert outcome.record.results.dmarc is not None
    assert outcome.record.results.dmarc.spf_aligned
    assert outcome.record.results.dmarc.dkim_aligned


def test_helo_and_mail_from_are_two_results() -> None:
    played = Played(zone=zone() | {"bad.example": [{"TXT": "v=spf1 -all"}]})
    outcome = played.play(signed(), helo="bad.example")
    assert [(one.identity, one.status, one.domain) for one in outcome.record.results.spf] == [
        ("helo", "fail", "bad.example"),
        ("mailfrom", "pass", "example.org"),
    ]
    assert "spf=fail" not in outcome.inserted[AR]
    played.settings = Settings(authentication_results=AuthenticationResultsSettings(helo=True))
    value = played.play(signed(), helo="bad.example").inserted[AR]
    assert 0 < value.index("spf=pass") < value.index("spf=fail")


def test_null_sender_is_postmaster_at_helo() -> None:
    outcome = Played().play(signed(), mail_from=b"<>")
    assert [(one.identity, one.status, one.domain) for one in outcome.record.results.spf] == [
        ("helo", "pass", "mail.example.org"),
        ("mailfrom", "pass", "mail.example.org"),
    ]


def test_any_chunking_of_the_body_gives_the_same_result() -> None:
    for chunk in (1, 2, 7, 65_535):
        outcome = Played().play(signed(), chunk=chunk)
        assert [one.status for one in outcome.record.results.signatures] == ["pass"]


def test_changed_body_fails_dkim() -> None:
    outcome = Played().play(signed().replace(b"Noon", b"Nine"))
    assert [one.status for one in outcome.record.results.signatures] == ["fail"]
    assert "dkim=fail" in outcome.inserted[AR]


def test_spf_fail_from_a_foreign_address_fails_dmarc_and_is_let_in_by_default() -> None:
    outcome = Played().play(MESSAGE, ip=BAD_IP)
    assert outcome.reply is None
    assert "dmarc=fail" in outcome.inserted[AR]
    assert outcome.record.verdict is not None
    assert outcome.record.verdict.would == "reject"


def test_value_without_leading_space_verifies_all_the_same() -> None:
    outcome = Played().play(signed(), leading_space=False)
    assert [one.status for one in outcome.record.results.signatures] == ["pass"]


def test_ipv4_in_ipv6_clothes_is_ipv4() -> None:
    outcome = Played().play(MESSAGE, ip=f"::ffff:{GOOD_IP}")
    assert outcome.record.results.spf[-1].status == "pass"


def test_client_without_an_address_gets_no_spf_verdict() -> None:
    outcome = Played().play(MESSAGE, ip=None)
    assert [one.status for one in outcome.record.results.spf] == ["none"]


def test_dns_down_gives_temperror_and_the_mail_goes_on() -> None:
    class Down:
        def lookup(self, name: str, kind: RecordKind) -> Answer:
            raise DnsTempError(f"{kind} {name}: timed out", "TIMEOUT")

    outcome = Played(options={"resolver": Down()}).play(signed())
    assert {one.status for one in outcome.record.results.spf} == {"temperror"}
    assert [one.status for one in outcome.record.results.signatures] == ["temperror"]
    assert outcome.record.results.dmarc is not None
    assert outcome.record.results.dmarc.status == "temperror"
    assert outcome.reply is None


# --- forged results ---


@pytest.mark.parametrize(
    "forged",
    [
        b"Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=example.org",
        b"AUTHENTICATION-RESULTS: MX.Example.NET 1; dkim=pass",
        b'authentication-results: "mx.example.net"; dkim=pass',
        b"Authentication-Results: (a (b) comment) mx.example.net (c) ; none",
        b"Authentication-Results:\r\n\tmx.example.net;\r\n\tnone",
        b"Authentication-Results: mx.example.net.; dkim=pass",
        b"Authentication-Results: mx.example.net dkim=pass",
        b"Authentication-Results : mx.example.net; dkim=pass",
    ],
)
def test_a_forged_field_is_removed(forged: bytes) -> None:
    others = b"Authentication-Results: other.example; spf=pass"
    outcome = Played().play(with_fields(others, forged, others))
    assert [(one.name, one.index) for one in outcome.deletes] == [(AR, 2)]


def test_forged_fields_go_from_the_highest_index_down_and_the_result_keeps_the_others() -> None:
    ours = b"Authentication-Results: mx.example.net; dkim=pass header.d=evil.example"
    other = b"authentication-results: other%d.example; spf=pass"
    fields = [line for number in range(5) for line in (ours, other % number)]
    outcome = Played().play(with_fields(*fields))
    assert [one.index for one in outcome.deletes] == [9, 7, 5, 3, 1]
    result = outcome.applied(with_fields(*fields))
    assert b"evil.example" not in result
    assert result.count(b"other") == 5


def test_further_ids_are_removed_on_request() -> None:
    config = Settings(authentication_results=AuthenticationResultsSettings(remove_from=("old.example",)))
    field = b"Authentication-Results: old.example; spf=pass"
    assert Played(config).play(with_fields(field)).deletes
    assert not Played().play(with_fields(field)).deletes


def test_the_configured_id_wins_over_the_mtas_and_the_host_name_comes_last() -> None:
    assert Played(Settings(authserv_id="id.example")).play(MESSAGE).inserted[AR].startswith("id.example;")
    assert Played().play(MESSAGE, mta=None).inserted[AR].startswith("host.example.net;")


# --- replies ---


def spf_settings(**actions: SpfAction) -> Settings:
    return Settings(spf=SpfSettings(**actions))  # type: ignore[arg-type]


def test_spf_fail_is_refused_at_mail_from_where_the_admin_says_so() -> None:
    outcome = Played(spf_settings(fail=SpfAction.REJECT)).play(MESSAGE, ip=BAD_IP)
    assert outcome.reply_at_mail is not None
    assert (outcome.reply_at_mail.code, outcome.reply_at_mail.enhanced_code) == (550, "5.7.23")
    assert BAD_IP in outcome.reply_at_mail.text
    assert outcome.record.action == "reject"
    assert outcome.record.results.spf[-1].status == "fail"


def test_the_same_reply_comes_at_the_end_where_mail_from_can_not_be_answered() -> None:
    outcome = Played(spf_settings(fail=SpfAction.REJECT)).play(MESSAGE, ip=BAD_IP, mail_replies=False)
    assert outcome.reply_at_mail is None
    assert outcome.reply is not None
    assert outcome.reply.enhanced_code == "5.7.23"


def test_a_domains_explanation_is_attributed_to_it() -> None:
    data = zone() | {
        "example.org": [{"TXT": "v=spf1 -all exp=why.example.org"}],
        "why.example.org": [{"TXT": "100% no: %{i}"}],
    }
    data["why.example.org"] = [{"TXT": "no mail from %{i}, 100%% sure"}]
    outcome = Played(spf_settings(fail=SpfAction.REJECT), zone=data).play(MESSAGE, ip=BAD_IP)
    assert outcome.reply is not None
    assert f"the domain example.org explains: no mail from {BAD_IP}, 100% sure" in outcome.reply.text


@pytest.mark.parametrize(
    ("record", "option", "action", "code", "enhanced"),
    [
        ("v=spf1 ~all", "softfail", SpfAction.TEMPFAIL, 451, "4.7.23"),
        ("v=spf1 bad:term", "permerror", SpfAction.REJECT, 550, "5.7.24"),
        ("TIMEOUT", "temperror", SpfAction.TEMPFAIL, 451, "4.7.24"),
        ("v=spf1 -all", "fail", SpfAction.TEMPFAIL, 451, "4.7.23"),
    ],
)
def test_each_spf_result_has_its_action(record: str, option: str, action: SpfAction, code: int, enhanced: str) -> None:
    data = zone() | {"example.org": [{"TXT": record}]}
    outcome = Played(spf_settings(**{option: action}), zone=data).play(MESSAGE, ip=BAD_IP, helo="x.invalid")
    assert outcome.reply_at_mail is not None
    assert (outcome.reply_at_mail.code, outcome.reply_at_mail.enhanced_code) == (code, enhanced)


def test_helo_fail_is_helos_alone() -> None:
    data = zone() | {"bad.example": [{"TXT": "v=spf1 -all"}]}
    refused = Played(spf_settings(helo_fail=SpfAction.REJECT), zone=data).play(MESSAGE, helo="bad.example")
    assert refused.reply_at_mail is not None
    assert "HELO" in refused.reply_at_mail.text
    taken = Played(spf_settings(fail=SpfAction.REJECT), zone=data).play(MESSAGE, helo="bad.example")
    assert taken.reply is None


def test_mail_is_answered_only_where_an_action_may_refuse() -> None:
    assert not wants_mail_reply(Settings())
    assert wants_mail_reply(spf_settings(permerror=SpfAction.TEMPFAIL))


def enforcing(**options: object) -> Settings:
    return Settings(dmarc=DmarcSettings(mode=DmarcMode.ENFORCE, **options))  # type: ignore[arg-type]


def test_enforced_dmarc_reject_is_refused_with_the_rfcs_words() -> None:
    outcome = Played(enforcing()).play(MESSAGE, ip=BAD_IP)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced_code) == (550, "5.7.1")
    assert "DMARC policy for example.org" in outcome.reply.text
    assert not outcome.inserts


def test_enforced_hold_quarantines_and_still_tags() -> None:
    outcome = Played(enforcing(reject=DmarcAction.HOLD)).play(MESSAGE, ip=BAD_IP)
    assert any(isinstance(action, Quarantine) for action in outcome.actions)
    assert "dmarc=fail" in outcome.inserted[AR]
    assert outcome.record.action == "hold"


def test_header_over_the_limit_is_refused_and_forgotten() -> None:
    config = Settings(limits=Limits(header_bytes=1000))
    outcome = Played(config).play(with_fields(b"X-Long: " + b"x" * 2000))
    assert outcome.reply == Reply(552, "5.3.4", "the message header is larger than 1000 octets")


OURS: dict[str, Any] = {"ip": "127.0.0.1"}
USER: dict[str, Any] = {"user": "bob"}
WHO = pytest.mark.parametrize("who", [{}, OURS, USER])


@WHO
def test_a_header_of_more_fields_than_a_message_may_have_is_refused(who: dict[str, Any]) -> None:
    most = with_fields(*[b"X: y"] * (MAX_FIELDS - len(parse(MESSAGE).fields)))
    assert Played(keys=keystore()).play(most, **who).reply is None
    outcome = Played(keys=keystore()).play(b"X: y\r\n" + most, **who)
    assert outcome.reply == Reply(552, "5.3.4", f"the message header has more than {MAX_FIELDS} fields")
    assert not outcome.inserts


@pytest.mark.parametrize("field", [b":", b"X: y", b"DKIM-Signature:", b"X: " + b"y" * 1000, b"N" * 1000 + b":"])
def test_a_header_takes_little_more_memory_than_its_limit(field: bytes) -> None:
    config = Settings()
    session = Session(
        lambda: Environment(config, keystore(), ZoneResolver({}), list[MessageRecord]().append, "mx.example.net")
    )
    session.connect(BAD_IP, None, None)
    session.mail_from(b"<>", None)
    name, _, value = field.partition(b":")
    tracemalloc.start()
    try:
        for _ in range(2_000_000 // (len(field) + 3)):
            session.header(bytes(bytearray(name)), bytes(bytearray(value)))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 2.5 * config.limits.header_bytes


@WHO
@pytest.mark.parametrize("config", [Settings(), Settings(mode=Mode.VERIFY), Settings(mode=Mode.SIGN)])
def test_so_many_forged_fields_that_to_remove_them_harms_the_mta_are_refused(
    who: dict[str, Any], config: Settings
) -> None:
    forged = b"Authentication-Results: mx.example.net; spf=pass"
    some = Played(config, keystore()).play(with_fields(*[forged] * MAX_DELETIONS), **who)
    assert some.reply is None
    assert len(some.deletes) in {0, MAX_DELETIONS}
    many = Played(config, keystore()).play(with_fields(*[forged] * (MAX_DELETIONS + 1)), **who)
    if some.deletes:
        assert many.reply is not None
        assert (many.reply.code, many.deletes, many.inserts) == (550, [], [])
        assert f"{MAX_DELETIONS} Authentication-Results fields in the name of mx.example.net" in many.reply.text
    else:  # nothing is removed, so nothing is asked of the MTA
        assert many.reply is None
        assert many.deletes == []


# --- our own mail ---


@pytest.mark.parametrize("value", ["{}\u0928\u0940mx.example.net; spf=pass", "other{}.example; " + "()" * 300])
def test_results_beyond_what_is_read_count_as_ours(value: str) -> None:
    fields = [f"Authentication-Results: {value.format(number)}\r\n".encode() for number in range(200)]
    read = readable([field[23:-2] for field in fields])
    assert 40 < read < 80
    few = Played().play(b"".join(fields[: read + 3]) + MESSAGE)
    assert [one.index for one in few.deletes] == [read + 3, read + 2, read + 1]
    many = Played().play(b"".join(fields) + MESSAGE)
    assert many.reply is not None
    assert many.reply.code == 550


def test_mail_of_our_network_is_signed_with_every_active_key() -> None:
    outcome = Played(keys=keystore()).play(MESSAGE, ip="127.0.0.1")
    assert outcome.record.mode is MessageMode.SIGN
    assert outcome.record.signed == (("example.org", "rsa"), ("example.org", "ed"))
    assert AR not in outcome.inserted
    results = dkim.verify(outcome.applied(MESSAGE), ZoneResolver(zone()), now=NOW)
    assert [(one.status, one.selector) for one in results] == [("pass", "rsa"), ("pass", "ed")]
    # The From field is signed once more than it stands there, so that none can be added.
    added = b"From: Mallory <m@evil.example>\r\n" + outcome.applied(MESSAGE)
    assert {one.status for one in dkim.verify(added, ZoneResolver(zone()), now=NOW)} == {"fail"}


def test_authenticated_mail_is_signed_from_anywhere() -> None:
    outcome = Played(keys=keystore()).play(MESSAGE, ip=BAD_IP, user="alice")
    assert outcome.record.mode is MessageMode.SIGN
    assert "authenticated as alice" in outcome.record.why


def test_authenticated_with_an_unknown_name_is_authenticated() -> None:
    assert Played(keys=keystore()).play(MESSAGE, ip=BAD_IP, user="").record.mode is MessageMode.SIGN


def test_mail_through_a_listed_daemon_is_signed() -> None:
    config = Settings()
    object.__setattr__(config.sign_for, "daemon_names", ("submission",))
    outcome = Played(config, keystore()).play(MESSAGE, ip=BAD_IP, daemon="submission")
    assert outcome.record.mode is MessageMode.SIGN


def test_our_mail_without_an_entry_is_left_alone_and_the_log_says_why() -> None:
    outcome = Played().play(MESSAGE, ip="127.0.0.1")
    assert outcome.record.mode is MessageMode.NONE
    assert "no entry" in outcome.record.why
    assert not outcome.actions


def test_forged_results_leave_with_authenticated_mail_and_stay_with_reinjected_mail() -> None:
    field = b"Authentication-Results: mx.example.net; spf=pass"
    assert Played().play(with_fields(field), ip=BAD_IP, user="alice").deletes
    assert not Played().play(with_fields(field), ip="127.0.0.1").deletes
    passed = b"Authentication-Results: mx.example.net; dmarc=pass header.from=example.org"
    assert Played(keys=keystore()).play(with_fields(passed), ip="127.0.0.1").deletes


def test_retired_and_unseen_auto_keys_do_not_sign() -> None:
    keys = tuple(
        StoredKey(one.selector, one.file, state, one.pem)
        for one, state in zip(keystore().entries["example.org"].keys, (KeyState.RETIRED, KeyState.AUTO), strict=True)
    )
    outcome = Played(keys=keystore(keys=keys)).play(MESSAGE, ip="127.0.0.1")
    assert outcome.record.mode is MessageMode.NONE
    assert "retired" in outcome.record.why
    assert "auto" in outcome.record.why
    seen = Played(keys=keystore(keys=keys), options={"published": frozenset({("example.org", "ed")})})
    assert seen.play(MESSAGE, ip="127.0.0.1").record.signed == (("example.org", "ed"),)


@pytest.mark.parametrize("state", [KeyState.ACTIVE, KeyState.AUTO])
def test_mail_that_needs_a_key_that_cant_be_used_waits(state: KeyState) -> None:
    rsa, ed = keystore().entries["example.org"].keys
    keys = (rsa, StoredKey(ed.selector, ed.file, state, b"", fault="empty"))
    outcome = Played(keys=keystore(keys=keys)).play(MESSAGE, ip="127.0.0.1")
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced_code) == (451, "4.3.5")
    assert "a key of the entry example.org can't be used, so its mail waits: empty" in outcome.record.why
    assert not outcome.record.error
    retired = (rsa, StoredKey(ed.selector, ed.file, KeyState.RETIRED, b"", fault="empty"))
    assert Played(keys=keystore(keys=retired)).play(MESSAGE, ip="127.0.0.1").record.signed


def test_allow_narrows_who_signs() -> None:
    keys = keystore(allow=Allow(auth_users=("*@example.org",)))
    allowed = Played(keys=keys).play(MESSAGE, ip=BAD_IP, user="Alice@example.org")
    assert allowed.record.signed
    refused = Played(keys=keys).play(MESSAGE, ip=BAD_IP, user="eve@example.com")
    assert refused.record.mode is MessageMode.NONE
    assert "eve@example.com" in refused.record.why
    strict = Settings(signing=SigningSettings(on_refused=OnRefused.REJECT))
    rejected = Played(strict, keys).play(MESSAGE, ip=BAD_IP, user="eve@example.com")
    assert rejected.reply is not None
    assert (rejected.reply.code, rejected.reply.enhanced_code) == (550, "5.7.1")


def test_envelope_from_has_to_match_where_it_is_given() -> None:
    keys = keystore(allow=Allow(envelope_from=("*@example.org",)))
    assert Played(keys=keys).play(MESSAGE, ip="127.0.0.1").record.signed
    assert not Played(keys=keys).play(MESSAGE, ip="127.0.0.1", mail_from=b"<x@other.example>").record.signed


def test_two_from_fields_of_a_signed_domain_wait() -> None:
    message = b"From: Alice <alice@example.org>\r\n" + MESSAGE
    outcome = Played(keys=keystore()).play(message, ip="127.0.0.1")
    assert outcome.reply is not None
    assert outcome.reply.code == 451
    assert not outcome.record.signed


def test_mail_without_from_of_nobody_we_sign_for_goes_on() -> None:
    message = MESSAGE.replace(b"From:", b"X-From:")
    outcome = Played(keys=keystore()).play(message, ip="127.0.0.1", mail_from=b"<x@other.example>")
    assert outcome.reply is None
    assert outcome.record.mode is MessageMode.NONE


def test_signing_again_does_not_double_the_signatures() -> None:
    played = Played(keys=keystore())
    first = played.play(MESSAGE, ip="127.0.0.1").applied(MESSAGE)
    again = played.play(first, ip="127.0.0.1")
    assert not again.inserts
    assert "not doubled" in again.record.why


def test_login_name_is_published_only_on_request() -> None:
    assert not Played().play(MESSAGE, ip=BAD_IP, user="alice").inserts
    config = Settings(authentication_results=AuthenticationResultsSettings(authenticated=True))
    value = Played(config).play(MESSAGE, ip=BAD_IP, user="alice").inserted[AR]
    assert "auth=pass" in value
    assert "smtp.auth=alice" in value


def test_exempt_clients_mail_is_not_touched() -> None:
    from ipaddress import ip_network

    config = Settings(exempt=Exempt(networks=(ip_network("127.0.0.0/8"),)))
    field = b"Authentication-Results: mx.example.net; spf=pass"
    outcome = Played(config, keystore()).play(with_fields(field), ip="127.0.0.1", user="alice")
    assert not outcome.actions
    assert outcome.record.mode is MessageMode.NONE


@pytest.mark.parametrize(("mode", "ip"), [(Mode.SIGN, BAD_IP), (Mode.VERIFY, "127.0.0.1")])
def test_one_half_can_be_switched_off(mode: Mode, ip: str) -> None:
    outcome = Played(Settings(mode=mode), keystore()).play(MESSAGE, ip=ip)
    assert outcome.record.mode is MessageMode.NONE
    assert not outcome.actions


def test_simple_canonicalization_of_headers_is_not_used_where_the_space_is_withheld() -> None:
    config = Settings(signing=SigningSettings(canonicalization="simple/simple"))
    outcome = Played(config, keystore()).play(MESSAGE, ip="127.0.0.1", leading_space=False)
    assert "c=relaxed/simple" in outcome.inserted["DKIM-Signature"].replace("\r\n", "")


# --- our own defects ---


def test_a_broken_event_makes_the_mail_wait() -> None:
    outcome = Played().play(MESSAGE, hook=lambda session: session.broken(RuntimeError("defect")))
    assert outcome.reply is not None
    assert outcome.reply.code == 451
    assert "defect" in outcome.record.error


def test_a_broken_event_lets_foreign_mail_in_on_request_but_never_unsigned_mail_out() -> None:
    config = Settings(on_internal_error=InternalError.ACCEPT)

    def hook(session: Session) -> None:
        session.broken(RuntimeError("defect"))

    forged = with_fields(b"Authentication-Results: mx.example.net; dkim=pass")
    taken = Played(config, keystore()).play(forged, hook=hook)
    assert taken.reply is None
    assert len(taken.deletes) == 1
    assert taken.inserted["Authentication-Results"] == "mx.example.net; none"
    ours = Played(config, keystore()).play(MESSAGE, ip="127.0.0.1", hook=hook)
    assert ours.reply is not None
    assert ours.reply.code == 451


def test_where_even_the_end_of_a_message_fails_its_mail_waits_and_is_logged() -> None:
    records: list[MessageRecord] = []
    environment = Environment(Settings(), keystore(), ZoneResolver(zone()), records.append, "host.example")
    session = Session(lambda: environment)
    session.connect(GOOD_IP, None, None)
    session.mail_from(b"<alice@example.org>", None)
    (reply,) = session.internal_error(ValueError("defect"), "4ABC")
    assert isinstance(reply, Reply)
    assert reply.code == 451
    assert (records[0].queue_id, records[0].error) == ("4ABC", "ValueError: defect")
    assert session.end_of_message("4ABC") == ()  # it has had its answer


def test_a_defect_in_a_header_that_is_too_large_refuses_it_all_the_same() -> None:
    config = Settings(on_internal_error=InternalError.ACCEPT, limits=Limits(header_bytes=4096))
    message = with_fields(b"X-Long: " + b"x" * 5000)
    outcome = Played(config).play(message, hook=lambda session: session.broken(RuntimeError("defect")))
    assert outcome.reply is not None
    assert outcome.reply.code == 552


def test_a_defect_in_mail_that_is_neither_signed_nor_verified_lets_it_in_on_request() -> None:
    config = Settings(on_internal_error=InternalError.ACCEPT, exempt=Exempt(networks=(ip_network("127.0.0.0/8"),)))
    outcome = Played(config).play(MESSAGE, ip="127.0.0.1", hook=lambda session: session.broken(RuntimeError("defect")))
    assert outcome.actions == ()


def test_mail_whose_header_never_ends_waits() -> None:
    session = Session(
        lambda: Environment(Settings(), keystore(), ZoneResolver({}), lambda _record: None, "host.example")
    )
    session.connect("127.0.0.1", None, None)
    session.mail_from(b"<alice@example.org>", None)
    session.header(b"From", b" alice@example.org")
    (reply,) = session.end_of_message("1")
    assert isinstance(reply, Reply)
    assert reply.code == 451


def test_events_without_a_message_do_nothing() -> None:
    session = Session(lambda: pytest.fail("no environment is needed"))
    session.connect("192.0.2.1", None, None)
    session.header(b"From", b" a@b")
    session.end_of_headers()
    session.body(b"x")
    session.abort()
    assert session.end_of_message(None) == ()
    assert isinstance(session.internal_error(RuntimeError())[0], Reply)


# --- anything at all ---


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from([b"From", b"DKIM-Signature", b"Authentication-Results", b"Subject", b"from ", b"To"]),
            st.binary(max_size=200).map(lambda value: value.replace(b"\0", b"")),
        ),
        max_size=12,
    ),
    body=st.binary(max_size=300),
    helo=st.text(max_size=40),
    mail_from=st.binary(max_size=60),
    ip=st.sampled_from([GOOD_IP, BAD_IP, "127.0.0.1", "2001:db8::1", None, "nonsense"]),
    user=st.sampled_from([None, "", "alice", "\x00\r\nx"]),
)
def test_any_octets_come_to_actions_that_are_safe_to_write(
    fields: list[tuple[bytes, bytes]], body: bytes, helo: str, mail_from: bytes, ip: str | None, user: str | None
) -> None:
    message = b"".join(name + b": " + value.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n" for name, value in fields)
    config = Settings(authentication_results=AuthenticationResultsSettings(authenticated=True))
    outcome = Played(config, keystore()).play(
        message + b"\r\n" + body, ip=ip, helo=helo, mail_from=mail_from, user=user
    )
    assert outcome.record.log_fields()
    for action in outcome.actions:
        if isinstance(action, InsertHeader):
            lines = action.value.split("\r\n")
            assert all(line.strip() for line in lines)
            assert all(line[:1] in (" ", "\t") for line in lines[1:])
            assert all(char >= " " or char == "\t" for line in lines for char in line)
        if isinstance(action, Reply):
            assert action.text.isascii()
            assert action.text.isprintable()


SMALL = Limits(header_bytes=1024)


LARGE = b"X: y\r\n" * 1000 + MESSAGE


@pytest.mark.parametrize(
    ("settings", "ip"),
    [
        (Settings(mode=Mode.SIGN, limits=SMALL), "192.0.2.10"),
        (Settings(mode=Mode.VERIFY, limits=SMALL), "127.0.0.1"),
        (Settings(exempt=Exempt((ip_network("192.0.2.0/24"),)), limits=SMALL), "192.0.2.10"),
    ],
)
def test_mail_that_is_neither_signed_nor_verified_may_have_a_header_of_any_size(settings: Settings, ip: str) -> None:
    outcome = Played(settings).play(LARGE, ip=ip)
    assert outcome.record.mode is MessageMode.NONE
    assert outcome.actions == ()


@pytest.mark.parametrize(
    ("mode", "user", "ip"),
    [(Mode.BOTH, None, "192.0.2.10"), (Mode.SIGN, "alice", "192.0.2.10"), (Mode.VERIFY, "alice", "192.0.2.10")],
)
def test_a_header_that_would_have_to_be_read_is_refused_when_too_large(mode: Mode, user: str | None, ip: str) -> None:
    outcome = Played(Settings(mode=mode, limits=SMALL)).play(LARGE, ip=ip, user=user)
    assert outcome.reply is not None
    assert (outcome.reply.code, outcome.reply.enhanced_code) == (552, "5.3.4")

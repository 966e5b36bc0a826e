"""Mail that a host of ours only passes on (`sign_for.require`): it is signed where it passes DMARC for its author
domain. Whoever may hand mail of any author to such a host could else have it signed by us: EchoSpoofing used a relay
of many customers that way."""

from dataclasses import replace

from mailnotary.config.settings import DmarcMode, Require
from mailnotary.mail.address import Author
from mailnotary.session.inbound import Inbound
from mailnotary.session.message import Message
from mailnotary.session.outbound import UNSIGNABLE
from mailnotary.session.outcome import MessageMode
from mailnotary.session.policy import Reply, containing
from mailnotary.session.received import is_of_the_site, origin
from mailnotary.status import DmarcStatus


def begin(message: Message, who: Author) -> None:
    """The header of mail that keys of ours would sign is whole: where it came to our host from outside, the checks
    begin that it has to pass."""
    env, client = message.env, message.client
    sign_for = env.settings.sign_for
    at_home = client.address is not None and client.address.is_loopback
    if sign_for.require is not Require.DMARC or client.auth_user is not None or at_home:
        return
    came = origin(
        message.fields,
        lambda address: is_of_the_site(address) or containing(sign_for.networks, address) is not None,
    )
    if came is None:
        return
    sender = came.sender
    message.why += f"; it came from outside ({sender.address})" if sender else "; a Received field hides its origin"
    settings = replace(env.settings, dmarc=replace(env.settings.dmarc, mode=DmarcMode.MONITOR))
    message.required = Inbound(
        settings,
        message.budget,
        sender.address if sender else None,
        sender.helo if sender else "",
        client.mail_from,
        receiver=message.authserv_id,
        now=env.clock(),
        traces=env.traces,
    )
    message.required.start()
    message.required.end_of_headers(message.fields, who)


def finish(message: Message) -> Reply | None:
    """At the end of the message: whether it may be signed after all; if not, it is in mode none from here on. A reply
    where DNS left that open, for mail that must be signed never leaves unsigned."""
    if message.required is None:
        return None
    dmarc = message.required.finish().dmarc
    status = DmarcStatus.PERMERROR if dmarc is None else dmarc.status
    verdict = f"dmarc={status}" + (f" ({dmarc.brief})" if dmarc is not None and dmarc.brief else "")
    if status is DmarcStatus.PASS:
        message.why += f" with {verdict}"
        return None
    if status is DmarcStatus.TEMPERROR:
        message.why += f" with {verdict}, so it waits (sign_for.require)"
        return UNSIGNABLE
    message.why += f" with {verdict}, so it is not signed (sign_for.require)"
    message.mode = MessageMode.NONE
    return None

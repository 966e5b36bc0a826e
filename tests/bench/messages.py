"""The messages that a benchmark hands in, and the keys that sign them."""

import random
from base64 import b64encode
from functools import cache

from mailnotary import dkim
from mailnotary.crypto import PrivateKey, generate_private_key, load_private_key

GOOD = "good.example"
SELECTORS = {"rsa": "rsa", "ed": "ed25519"}

_HEADER = """\
Received: from mail.{domain} (mail.{domain} [192.0.2.10])
\tby relay.{domain} (Postfix) with ESMTPS id 4XyZab12Cdz9v
\tfor <user@rcpt.example>; Sat, 21 Nov 2020 10:11:12 +0000 (UTC)
Received: from app-7.internal.{domain} (app-7.internal.{domain} [198.51.100.23])
\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))
\tby mail.{domain} (Postfix) with ESMTPSA id 4XyZaa0Kqjz3w
\tfor <user@rcpt.example>; Sat, 21 Nov 2020 10:11:11 +0000 (UTC)
From: Alice Example <alice@{domain}>
To: Bob Receiver <user@rcpt.example>
Cc: =?utf-8?q?Zo=C3=AB?= <zoe@rcpt.example>,
 Team <team@rcpt.example>
Reply-To: support@{domain}
Subject: Quarterly   numbers, and the meeting
Date: Sat, 21 Nov 2020 10:11:10 +0000
Message-ID: <20201121101110.52e6b438@{domain}>
In-Reply-To: <20201120.prev@rcpt.example>
References: <20201119.first@rcpt.example>
 <20201120.prev@rcpt.example>
MIME-Version: 1.0
Content-Type: {type}
Content-Transfer-Encoding: 8bit
List-Unsubscribe: <https://news.{domain}/unsubscribe/f2a74de4>
User-Agent: Bench/1.0

"""
_WORDS = ("the", "of", "and", "meeting", "invoice", "delivery", "is", "that", "for", "schedule", "their", "payment")


@cache
def pem(algorithm: str) -> bytes:
    """The senders' key."""
    return generate_private_key(algorithm)


@cache
def _private(algorithm: str) -> PrivateKey:
    return load_private_key(pem(algorithm))


@cache
def _body(octets: int, prose: bool, attached: bool) -> bytes:
    rng = random.Random(octets)
    ends = (" \n", "  ", "\n", " ") if prose else (" ", " ", " ", "\n")
    words = "".join(rng.choice(_WORDS) + ends[n % 7 % 4] for n in range(2_000)).encode()
    head, block, tail = b"", words, b""
    if attached:
        head = b"--b\nContent-Type: text/plain\n\n" + words[:2_000] + b"\n--b\n"
        head += b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
        block = b64encode(rng.randbytes(57 * 400))
        block = b"".join(block[start : start + 76] + b"\n" for start in range(0, len(block), 76))
        tail = b"--b--\n"
    size = octets - len(head)
    return head + (block * (size // len(block) + 1))[:size].rstrip() + b"\n" + tail


def message(domain: str, octets: int, *, prose: bool = False, signed: bool = False) -> bytes:
    """A message of about so many octets, with LF: words (with `prose`: and many blanks), or a large attachment."""
    attached = octets > 60_000 and not prose
    kind = 'multipart/mixed; boundary="b"' if attached else "text/plain; charset=utf-8"
    head = _HEADER.format(type=kind, domain=domain).encode()
    data = head + _body(octets - len(head) - 700 * signed, prose, attached)
    if not signed:
        return data
    data = data.replace(b"\n", b"\r\n")
    signer = dkim.Signer(domain, "rsa", _private("rsa"), canonicalization="relaxed/relaxed")
    return (dkim.sign(data, signer) + b"\r\n" + data).replace(b"\r\n", b"\n")

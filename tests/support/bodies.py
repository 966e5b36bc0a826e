"""Bodies that mail systems get wrong: each verifies only where every octet of it arrives."""

from collections.abc import Mapping

BODIES: Mapping[str, bytes] = {
    "empty": b"",
    "one empty line": b"\r\n",
    "blank lines at the end": b"text\r\n\r\n\r\n\r\n",
    "no final newline": b"the end is near",
    "8-bit text": "Grüße aus Köln, 日本\r\n".encode() + b"\x80\xfe\xff in no charset\r\n",
    "dots at line starts": b".\r\n..\r\n.text\r\n.\r\n\r\n...\r\n",
    "white space": b"  two  \t spaces \r\n\t\r\n \r\ntext\t \r\n \r\n",
    "long lines": b"x" * 999 + b"\r\n" + b"y" * 5000 + b"\r\n" + b"long " * 3000 + b"\r\n",
    "more than one packet": b"0123456789abcdef 0123456789abcdef\r\n" * 8000,
    "a line across packets": b"z" * 200_000 + b" \r\n",
    "From and headers": b"From here on\r\nFrom: me\r\n\r\n>From\r\n",
}


def ended(text: bytes) -> bytes:
    """A body as SMTP carries it: with a line end behind its last line (RFC 5321 4.1.1.4)."""
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n"

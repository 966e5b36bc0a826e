"""Encoded words (RFC 2047), read as leniently as mail programs read them.

They are text for people: nothing in one is an address or a token (section 5). But some programs decode first and parse
then, so whoever looks for all readings of a field has to look into them. All functions take linear time."""

import binascii
import re

_WORD = re.compile(r"=\?([^?\s]*)\?([bBqQ])\?([^?]*)\?=")  # section 2, but for blanks that many take in the text
_STRICT_WORD = re.compile(r"=\?[^?\s]*\?[bBqQ]\?[^?\s]*\?=")
_BETWEEN = re.compile(r"\?=[ \t\r\n]+=\?")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")
# Charsets in which an octet of US-ASCII need not be its character: an "@" could hide there. Names are looked up here
# alone, for what Python knows beside them includes codecs that take quadratic time.
_UNLIKE_ASCII = {
    name.replace("-", ""): name
    for name in (
        *("utf-7", "utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be", "hz"),
        *("iso-2022-jp", "iso-2022-jp-1", "iso-2022-jp-2", "iso-2022-jp-3", "iso-2022-jp-ext", "iso-2022-kr"),
        *("shiftjis", "sjis", "cp932", "gbk", "gb18030", "big5", "big5hkscs", "cp949"),
        *("cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140"),
    )
} | {"hzgb2312": "hz", "windows31j": "cp932", "ibm037": "cp037", "ibm500": "cp500", "unicode11utf7": "utf-7"}


def has_word(text: str) -> bool:
    """Whether the text has an encoded word."""
    return "=?" in text and _STRICT_WORD.search(text) is not None


def words(text: str) -> list[str]:
    """What each encoded word in a text stands for; octets that are not UTF-8 are lone surrogates."""
    return [_decode(match) for match in _WORD.finditer(text)] if "=?" in text else []


def decoded(text: str) -> str:
    """The text with its encoded words decoded, and without the white space between two of them (section 6.2)."""
    if "=?" not in text:
        return text
    return _WORD.sub(_decode, _BETWEEN.sub("?==?", text))


def _decode(match: re.Match[str]) -> str:
    charset = match[1].partition("*")[0].lower().replace("-", "").replace("_", "")  # "*": RFC 2231's language
    data = match[3].encode("utf-8", "surrogateescape")
    if match[2] in "qQ":
        data = _HEX.sub(lambda octet: bytes([int(octet[1], 16)]), data.replace(b"_", b" "))
    else:
        data = _base64(data)
    codec = _UNLIKE_ASCII.get(charset)
    return data.decode(codec, "replace") if codec else data.decode("utf-8", "surrogateescape")


def _base64(data: bytes) -> bytes:
    """The octets, whatever is missing at the end."""
    for end in (data, data + b"=", data + b"==", data[:-1] + b"==", data[:-1]):
        try:
            return binascii.a2b_base64(end)
        except ValueError:
            continue
    return b""

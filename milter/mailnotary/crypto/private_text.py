"""The DER octets of a private key file: PEM (RFC 7468), DER, or the base64 of DER, all of which OpenSSL reads too. For
anything else the error says what the file is, and which command makes a private key of it."""

import base64
import binascii
import re
from shlex import quote

from mailnotary.crypto.der import kind, missing_octets
from mailnotary.crypto.keys import KeyLoadError

KEYGEN = "make a key with `mailnotary keygen`"
RESTORE = "restore it from a backup, or make a new key with `mailnotary keygen`"

_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_BEGIN = re.compile(rb"(-*)[ \t]*BEGIN ([A-Z0-9 ]{1,40}?)[ \t]*(-*)[ \t]*(?:[\r\n]|\Z)")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]{40,}={0,2}\s*\Z")
_SEED = 32  # octets of an Ed25519 key (RFC 8032 section 5.1.5)
# The octets before the seed in PKCS#8 (RFC 8410 section 7), for printf.
_SEED_HEADER = "".join(f"\\{octet:03o}" for octet in bytes.fromhex("302e020100300506032b657004220420"))


def private_der(data: bytes, file: str) -> bytes:
    """The octets of PKCS#1 or PKCS#8 in a private key file. `file` is its path, for the command in the error. Raises
    KeyLoadError, and DerError for octets that are not DER at all."""
    if data[:1] == b"\x30" and (what := kind(data)):
        return _usable(data, what, file, " -inform DER")
    blocks = _blocks(data)
    for label, text in blocks:
        if label.endswith("PRIVATE KEY"):
            return _from_block(label, text, file)
    if blocks:
        raise KeyLoadError(_other_block(blocks[0][0]))
    if _BASE64.match(data) and (octets := _decoded(data)) is not None:
        if what := kind(octets):
            return _usable(octets, what, file, " -inform DER", f"base64 -d {quote(file)} | ")
        if len(octets) == _SEED:
            raise KeyLoadError(_seed(file))
    raise KeyLoadError(_not_pem(data, file))


def replaced(file: str, command: str) -> str:
    """A command that writes to NEW, made one that puts the result in the place of the file, with its owner and mode."""
    old, new = quote(file), quote(file + ".new")
    keep = " && ".join(f"{what} --reference={old} {new}" for what in ("chown", "chmod"))
    return f"run `(umask 077; {command.replace('NEW', new)}) && {keep} && mv {new} {old}`"


def _blocks(data: bytes) -> list[tuple[str, bytes]]:
    """The label and the text of each PEM block."""
    blocks = []
    for begin in _LABEL.finditer(data):
        end = data.find(b"-----END " + begin[1] + b"-----", begin.end())
        if end >= 0:
            blocks.append((begin[1].decode(), data[begin.end() : end]))
    return blocks


def _from_block(label: str, text: bytes, file: str) -> bytes:
    if label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in text:
        raise KeyLoadError(_encrypted(file))
    if label == "OPENSSH PRIVATE KEY":
        raise KeyLoadError(_openssh(text, file))
    if label not in ("RSA PRIVATE KEY", "PRIVATE KEY"):
        raise KeyLoadError(
            f"an {label.removesuffix(' PRIVATE KEY')} key can't sign mail, only RSA and Ed25519: {KEYGEN}"
        )
    if b"\\n" in text:
        command = f'printf %b "$(cat {quote(file)})" > NEW'
        raise KeyLoadError(f"its line ends are written as \\n: {replaced(file, command)}")
    octets = _decoded(text)
    if octets is None and b"-" in text:
        raise KeyLoadError(_hyphens(file))
    if octets is None:
        raise KeyLoadError(f"the base64 of the PEM block is damaged: {RESTORE}")
    what = kind(octets)
    if not what and (missing := missing_octets(octets)):
        raise KeyLoadError(f"the key is cut: {missing} octets are missing at its end: {RESTORE}")
    return _usable(octets, what, file, "")


def _usable(octets: bytes, what: str, file: str, form: str, before: str = "") -> bytes:
    """The octets, if they are a private key; `what` is their `kind`. openssl reads them with `form` and `before`."""
    source = f"{before}openssl" if before else "openssl"
    where = "" if before else f" -in {quote(file)}"
    if what == "encrypted":
        raise KeyLoadError(f"the key is encrypted: {replaced(file, f'{source} pkey{form}{where} -out NEW')}")
    if what == "pkcs12":
        command = f"{source} pkcs12{where} -nocerts -nodes -out NEW"
        raise KeyLoadError(f"this is a PKCS#12 bundle (.p12, .pfx): {replaced(file, command)}")
    if what == "ec":
        raise KeyLoadError(f"an EC key can't sign mail, only RSA and Ed25519: {KEYGEN}")
    if what in ("public", "certificate"):
        raise KeyLoadError(_NEEDED.format("the public key" if what == "public" else "a certificate"))
    return octets


_NEEDED = "this is {}: the file of the private key is needed"


def _encrypted(file: str) -> str:
    return f"the key is encrypted: {replaced(file, f'openssl pkey -in {quote(file)} -out NEW')}"


def _openssh(text: bytes, file: str) -> str:
    if b"ssh-rsa" in (_decoded(text) or b""):
        command = f"cp -p {quote(file)} NEW && ssh-keygen -q -p -m PKCS8 -N '' -f NEW"
        return f"this is an RSA key in the format of OpenSSH: {replaced(file, command)}"
    return f"this is a key in the format of OpenSSH: {KEYGEN}"


def _seed(file: str) -> str:
    command = f"{{ printf '{_SEED_HEADER}'; base64 -d {quote(file)}; }} | openssl pkey -inform DER -out NEW"
    return f"this is the base64 of 32 octets: if it is the seed of an Ed25519 key, {replaced(file, command)}"


def _other_block(label: str) -> str:
    if label.endswith("PUBLIC KEY"):
        return _NEEDED.format("the public key")
    if label.endswith("CERTIFICATE"):
        return _NEEDED.format("a certificate")
    if label == "PKCS12":
        return f"this is a PKCS#12 bundle: {KEYGEN}"
    return _NEEDED.format(f"a PEM file of a {label}")


def _not_pem(data: bytes, file: str) -> str:
    """What a file is that has no PEM block."""
    name = quote(file)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[1:2] == b"\0" or (data[:1] == b"\0" and data[1:2] == b"-"):
        big = data[:2] == b"\xfe\xff" or data[:1] == b"\0"
        text = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "UTF-16BE" if big else "UTF-16LE"
        command = f"iconv -f {text} -t ASCII {name} > NEW"
        return f"this is UTF-16, as Windows PowerShell writes it: {replaced(file, command)}"
    if begin := _BEGIN.search(data):
        return _broken_lines(begin, data, file)
    if data.startswith((b"ssh-", b"ecdsa-")):
        return _NEEDED.format("a public key of SSH")
    if data.startswith(b"PuTTY-User-Key-File"):
        command = f"puttygen {name} -O private-openssh -o NEW"
        return f"this is a key of PuTTY: {replaced(file, command)}"
    if re.search(rb"v\s*=\s*DKIM1|\bp\s*=\s*[A-Za-z0-9+/]{20}", data):
        return (
            "this is the DNS record of a key: the file of the private key is needed (opendkim-genkey names it .private)"
        )
    if data[:1] == b"\x30" and data[1:2] >= b"\x80" and (missing := missing_octets(data)):
        return f"this looks like DER whose last {missing} octets are missing: {RESTORE}"
    return f"not a private key: it has no line -----BEGIN PRIVATE KEY-----: check the name, or {KEYGEN}"


def _broken_lines(begin: re.Match[bytes], data: bytes, file: str) -> str:
    label = begin[2].decode()
    if not label.endswith("PRIVATE KEY"):
        return _other_block(label)
    if begin[1] != b"-----" or begin[3] != b"-----" or re.search(rb"END " + begin[2] + rb"(?!-----\s*\Z)", data):
        return _hyphens(file)
    return f"the key is cut: it has no line -----END {label}-----: {RESTORE}"


def _hyphens(file: str) -> str:
    script = r"s/^[^A-Z]*(BEGIN|END) ([A-Z0-9 ]*[A-Z0-9])[^A-Z0-9]*$/-----\1 \2-----/"
    command = f"sed -E '{script}' {quote(file)} > NEW"
    return f"its lines BEGIN and END need five hyphens before and after them: {replaced(file, command)}"


def _decoded(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return None

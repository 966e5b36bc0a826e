"""Private keys in other forms than PEM: what is read, and what is named, with a command that works."""

import base64
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailnotary.crypto import KeyLoadError, load_private_key
from support.mail import ed_pem, rsa_pem


def run(command: str) -> bytes:
    """The output of a shell command."""
    return subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True, timeout=30).stdout


def other_form(directory: Path, command: str, pem: bytes) -> bytes:
    """A key as a command writes it; the command reads it in `k`."""
    (directory / "k").write_bytes(pem)
    return run(f"cd {directory} && {command}")


def body(pem: bytes) -> bytes:
    return b"".join(pem.splitlines()[1:-1])


READ = {
    "DER of PKCS#8": "openssl pkcs8 -topk8 -nocrypt -in k -outform DER",
    "DER of PKCS#1": "openssl rsa -traditional -in k -outform DER",
    "PKCS#1": "openssl rsa -traditional -in k",
    "PKCS#8 under an RSA label": "sed 's/ PRIVATE/ RSA PRIVATE/' k",
    "PKCS#1 under a PKCS#8 label": "openssl rsa -traditional -in k | sed 's/ RSA / /'",
    "base64 alone": "grep -v -- ----- k",
    "base64 on one line": "grep -v -- ----- k | tr -d '\\n'",
    "base64 of PKCS#1": "openssl rsa -traditional -in k | grep -v -- -----",
    "a byte order mark": "printf '\\357\\273\\277'; cat k",
}


@pytest.mark.parametrize("command", READ.values(), ids=READ)
def test_what_openssl_reads_is_read(tmp_path: Path, command: str) -> None:
    data = other_form(tmp_path, command, rsa_pem())
    assert load_private_key(data).public == load_private_key(rsa_pem()).public


def test_ed25519_in_der_and_base64_is_read(tmp_path: Path) -> None:
    der = other_form(tmp_path, "openssl pkey -in k -outform DER", ed_pem())
    for data in (der, base64.b64encode(der)):
        assert load_private_key(data).public == load_private_key(ed_pem()).public


CERTIFICATE = "openssl req -new -x509 -key k -subj /CN=x -out c"
P12 = f"{CERTIFICATE} && openssl pkcs12 -export -in c -inkey k -passout pass: -out p && cat p"
CONVERTED: dict[str, tuple[str, str]] = {
    "UTF-16 of PowerShell": ("iconv -t UTF-16 k", "this is UTF-16, as Windows PowerShell writes it"),
    "UTF-16LE without a mark": ("iconv -t UTF-16LE k", "this is UTF-16"),
    "UTF-16BE without a mark": ("iconv -t UTF-16BE k", "this is UTF-16"),
    "four hyphens": ("sed 's/-----/----/g' k", "its lines BEGIN and END need five hyphens"),
    "no hyphens": ("sed 's/-----//g' k", "its lines BEGIN and END need five hyphens"),
    "six hyphens at the end": ("sed 's/KEY-----$/KEY------/' k", "its lines BEGIN and END need five hyphens"),
    "escaped line ends": ("awk '{printf \"%s\\\\n\", $0}' k", "its line ends are written as \\n"),
    "PKCS#12": (P12, "this is a PKCS#12 bundle"),
    "encrypted": ("openssl pkey -in k -aes128 -passout pass:", "the key is encrypted"),
    "encrypted DER": (
        "openssl pkcs8 -topk8 -in k -v2 aes128 -passout pass: -outform DER",
        "the key is encrypted",
    ),
}


@pytest.mark.parametrize(("command", "expected"), CONVERTED.values(), ids=CONVERTED)
def test_what_is_not_read_is_named_with_a_command_that_converts_it(tmp_path: Path, command: str, expected: str) -> None:
    file = tmp_path / "it's a key"
    file.write_bytes(other_form(tmp_path, command, rsa_pem()))
    file.chmod(0o640)
    with pytest.raises(KeyLoadError) as refused:
        load_private_key(file.read_bytes(), str(file))
    assert str(refused.value).startswith(expected)
    (cure,) = re.findall("`(.*)`", str(refused.value), re.DOTALL)
    run(cure.replace(" pkey ", " pkey -passin pass: ").replace(" pkcs12 ", " pkcs12 -passin pass: "))
    assert load_private_key(file.read_bytes()).public == load_private_key(rsa_pem()).public
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_seed_is_named_with_a_command_that_converts_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(base64.b64encode(base64.b64decode(body(ed_pem()))[-32:]) + b"\n")
    with pytest.raises(KeyLoadError, match="if it is the seed of an Ed25519 key") as refused:
        load_private_key(file.read_bytes(), str(file))
    (cure,) = re.findall("`(.*)`", str(refused.value), re.DOTALL)
    run(cure)
    assert load_private_key(file.read_bytes()).public == load_private_key(ed_pem()).public


def ssh_key(octets: bytes) -> bytes:
    label = b"OPENSSH PRIVATE KEY"
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, base64.encodebytes(octets), label)


NAMED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda pem: pem[: len(pem) // 2], "the key is cut: it has no line -----END PRIVATE KEY-----"),
    "cut inside": (
        lambda pem: b"\n".join([*pem.splitlines()[:4], *pem.splitlines()[-1:]]),
        "the key is cut: 1",
    ),
    "damaged": (lambda pem: pem.replace(b"\nMII", b"\n#II"), "the base64 of the PEM block is damaged"),
    "a text that begins with 0": (lambda _: b"0123456789\n", "not a private key"),
    "DNS record": (lambda _: b's._domainkey IN TXT ( "v=DKIM1; k=rsa; " "p=MIGf" )', "this is the DNS record of a key"),
    "public key of SSH": (lambda _: b"ssh-rsa AAAAB3NzaC1yc2E x@y\n", "this is a public key of SSH"),
    "OpenSSH": (
        lambda _: ssh_key(b"openssh-key-v1\0\0\0\0\x07ssh-rsa"),
        "this is an RSA key in the format of OpenSSH: run `(umask 077; cp -p FILE FILE.new && ssh-keygen -q -p",
    ),
    "OpenSSH, Ed25519": (
        lambda _: ssh_key(b"openssh-key-v1\0\0\0\0\x0bssh-ed25519"),
        "this is a key in the format of OpenSSH: make a key with `mailnotary keygen`",
    ),
    "PuTTY": (lambda _: b"PuTTY-User-Key-File-3: ssh-rsa\n", "this is a key of PuTTY: run `"),
    "request": (
        lambda _: b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n",
        "this is a PEM file of a CERTIFICATE REQUEST",
    ),
}


@pytest.mark.parametrize(("make", "expected"), NAMED.values(), ids=NAMED)
def test_what_can_not_be_converted_is_named(make: Callable[[bytes], bytes], expected: str) -> None:
    with pytest.raises(KeyLoadError) as refused:
        load_private_key(make(rsa_pem()))
    assert str(refused.value).startswith(expected)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("openssl pkey -in k -pubout", "this is the public key: the file of the private key is needed"),
        ("openssl pkey -in k -pubout -outform DER", "this is the public key"),
        ("openssl req -new -x509 -key k -subj /CN=x", "this is a certificate: the file of the private key is needed"),
        ("openssl req -new -x509 -key k -subj /CN=x -outform DER", "this is a certificate"),
        ("openssl ecparam -name prime256v1 -genkey -noout", "an EC key can't sign mail, only RSA and Ed25519"),
        ("openssl ecparam -name prime256v1 -genkey -noout -outform DER", "an EC key can't sign mail"),
    ],
)
def test_other_kinds_of_keys_are_named(tmp_path: Path, command: str, expected: str) -> None:
    with pytest.raises(KeyLoadError) as refused:
        load_private_key(other_form(tmp_path, command, rsa_pem()))
    assert str(refused.value).startswith(expected)


@given(st.data())
def test_a_key_that_was_cut_or_damaged_anywhere_is_never_another_key(data: st.DataObject) -> None:
    pem = ed_pem()
    place = data.draw(st.integers(0, len(pem) - 1))
    changed = pem[:place] + data.draw(st.binary(max_size=2)) + pem[place + data.draw(st.integers(0, 2)) :]
    try:
        load_private_key(changed)
    except KeyLoadError as error:
        assert str(error).isprintable()  # noqa: PT017 - any of several texts

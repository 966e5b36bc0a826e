"""Clients with a TLS certificate, before a real Postfix that trusts one CA."""

import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.daemon import free_port
from support.mail import MESSAGE
from support.rig import Rig, fields, start

pytestmark = pytest.mark.mta

CA_NAME = "/CN=our CA"


@dataclass(frozen=True, slots=True)
class Tls:
    rig: Rig
    port: int
    directory: Path

    def deliver(self, certificate: str | None) -> bytes:
        """A message over TLS from an address that is none of ours; as Postfix delivered it."""
        context = ssl._create_unverified_context()
        if certificate is not None:
            context.load_cert_chain(self.directory / f"{certificate}.pem", self.directory / f"{certificate}.key")
        with smtplib.SMTP("127.0.0.1", self.port, source_address=("127.0.0.9", 0)) as client:
            client.starttls(context=context)
            client.ehlo("mail2.example.org")
            client.mail("alice@example.org")
            client.rcpt("user@rcpt.example")
            code, text = client.data(MESSAGE)
            assert code == 250, text
        return self.rig.postfix.receive(text.decode()).data


def make_certificate(directory: Path, name: str, subject: str, issuer: str | None = None) -> None:
    signer = [] if issuer is None else ["-CA", f"{directory}/{issuer}.pem", "-CAkey", f"{directory}/{issuer}.key"]
    files = ["-keyout", f"{directory}/{name}.key", "-out", f"{directory}/{name}.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", subject, *signer, *files],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    directory = tmp_path_factory.mktemp("tls")
    make_certificate(directory, "ca", CA_NAME)
    make_certificate(directory, "mail2", "/CN=mail2.example.org", "ca")
    make_certificate(directory, "mail3", "/CN=mail3.example.org", "ca")
    make_certificate(directory, "impostor", "/CN=mail2.example.org")
    port = free_port()
    services = f"""\
tlsmgr unix - - n 1000? 1 tlsmgr
127.0.0.1:{port} inet n - n - 10 smtpd
  -o smtpd_tls_security_level=may -o smtpd_tls_ask_ccert=yes -o smtpd_tls_CAfile={directory}/ca.pem
  -o smtpd_tls_cert_file={directory}/ca.pem -o smtpd_tls_key_file={directory}/ca.key
"""
    ours = {"networks": ["127.0.0.1"], "tls_clients": ["mail2.example.org"]}
    with start(postfix_services=services, sign_for=ours) as rig:
        yield Tls(rig, port, directory)


def test_the_listed_client_is_signed_for(tls: Tls) -> None:
    assert tls.rig.verified(tls.deliver("mail2")) == (["pass rsa", "pass ed"], [True, True])


@pytest.mark.parametrize("certificate", ["mail3", "impostor", None])
def test_no_other_is(tls: Tls, certificate: str | None) -> None:
    data = tls.deliver(certificate)
    assert not fields(data, "DKIM-Signature")
    assert "dmarc=fail" in fields(data, "Authentication-Results")[0]

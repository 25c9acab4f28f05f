from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from dotenv import dotenv_values

from gateway.config import GatewayConfig
from groundwire_cli.config import CliConfig
from groundwire_rpc.tls import client_tls, server_tls
from inference_service.config import InferenceConfig
from search_service.config import SearchConfig
from tests.support.command_line import groundwire

NAMES = {"ca.pem", "ca.key", "server.pem", "server.key", "client.pem", "client.key"}


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.usefixtures("open_umask")
async def test_it_makes_what_the_settings_it_prints_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await groundwire("certs", "dev", folder=tmp_path)
    assert made.code == 0, made.stderr
    folder = tmp_path / "certs"
    assert {path.name for path in folder.iterdir()} == NAMES
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o600} == {"ca.key", "server.key", "client.key"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    (tmp_path / ".env").write_text(made.stdout)
    settings = dotenv_values(tmp_path / ".env")
    assert len(settings) == 14
    for name, value in settings.items():
        assert value
        monkeypatch.setenv(name, value)
    for config, service in ((GatewayConfig(), "gateway"), (SearchConfig(), "search"), (InferenceConfig(), "inference")):
        serving = server_tls(config, service)
        assert serving is not None
        assert serving.asks_for_certificates
        assert client_tls(CliConfig(), service) is not None
    assert client_tls(GatewayConfig(), "search") is not None
    assert client_tls(GatewayConfig(), "inference") is not None


async def test_what_the_certificates_say(tmp_path: Path) -> None:
    made = await groundwire("certs", "dev", "--host", "gpu.example.org", "--days", "30", "here", folder=tmp_path)
    assert made.code == 0, made.stderr
    ca, server, client = (certificate(tmp_path / "here" / f"{name}.pem") for name in ("ca", "server", "client"))
    names = server.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "gpu.example.org"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    for leaf, purpose in ((server, ExtendedKeyUsageOID.SERVER_AUTH), (client, ExtendedKeyUsageOID.CLIENT_AUTH)):
        leaf.verify_directly_issued_by(ca)
        usage = leaf.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
        assert list(usage) == [purpose]  # type: ignore[call-overload]
        assert 30 <= (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days <= 31
    context = ssl.create_default_context(cafile=tmp_path / "here" / "ca.pem")
    context.load_cert_chain(tmp_path / "here" / "client.pem", tmp_path / "here" / "client.key")


async def test_it_replaces_nothing_unless_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    theirs = tmp_path / "certs" / "client.key"
    theirs.write_text("precious")
    refused = await groundwire("certs", "dev", folder=tmp_path)
    assert refused.code == 1
    assert refused.stdout == ""
    assert "certs/client.key" in refused.stderr
    assert "--force" in refused.stderr
    assert [path.name for path in theirs.parent.iterdir()] == ["client.key"]
    assert theirs.read_text() == "precious"
    assert (await groundwire("certs", "dev", "--force", folder=tmp_path)).code == 0
    assert {path.name for path in theirs.parent.iterdir()} == NAMES
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600


@pytest.mark.parametrize("host", ["a b", "", "hö", "http://x"])
async def test_what_is_no_host_is_refused(tmp_path: Path, host: str) -> None:
    refused = await groundwire("certs", "dev", "--host", host, folder=tmp_path)
    assert refused.code == 2
    assert not (tmp_path / "certs").exists()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    refused = await groundwire("certs", "dev", "taken/certs", folder=tmp_path)
    assert refused.code == 1
    assert "cannot be written to taken/certs" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_a_folder_with_an_odd_name_is_quoted(tmp_path: Path) -> None:
    made = await groundwire("certs", "dev", "it's a #folder", folder=tmp_path)
    assert made.code == 0, made.stderr
    (tmp_path / ".env").write_text(made.stdout)
    values = dotenv_values(tmp_path / ".env")
    assert values["GROUNDWIRE_CLIENT_TLS_KEY"] == str(tmp_path / "it's a #folder" / "client.key")

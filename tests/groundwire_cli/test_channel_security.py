"""How the command calls each service, by its settings, and what it says where both sides do not agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundwire_cli.config import CliConfig
from groundwire_cli.errors import CommandError
from groundwire_cli.fleet import fleet_security
from groundwire_cli.health import NotServing, wait_until_serving
from groundwire_cli.rpc_errors import distrust_lines
from groundwire_cli.services import GATEWAY, INFERENCE, SEARCH
from groundwire_cli.up import grpcurl_options, plan_of
from groundwire_rpc.channels import PLAINTEXT
from groundwire_rpc.security import ServerSecurity
from groundwire_rpc.server import RpcServer
from groundwire_rpc.tls import server_tls
from tests.support.certificates import Certificates, Secured


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "certificates")


def test_nothing_set_is_plaintext_without_a_token() -> None:
    for service in (GATEWAY, SEARCH, INFERENCE):
        assert CliConfig().channel_security(service) == PLAINTEXT


def test_the_key_goes_to_the_gateway_and_the_token_to_the_others(files: Certificates) -> None:
    config = CliConfig(api_key="key-0123456789abcdef", backend_token="token-0123456789abcdef", search_tls_ca=files.ca)
    tokens = {}
    for service in (GATEWAY, SEARCH, INFERENCE):
        security = config.channel_security(service)
        assert security.token is not None
        tokens[service.name] = security.token.get_secret_value()
        assert (security.tls is not None) == (service is SEARCH)
    assert tokens == {
        "gateway": "key-0123456789abcdef",
        "search": "token-0123456789abcdef",
        "inference": "token-0123456789abcdef",
    }
    assert "0123456789abcdef" not in repr(config)


def test_a_file_that_is_no_good_ends_the_command_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="GROUNDWIRE_GATEWAY_TLS_CA names"):
        CliConfig(gateway_tls_ca=tmp_path / "missing.pem").channel_security(GATEWAY)


def test_replaced_files_are_taken_without_a_word_between_the_lines_of_an_answer(
    files: Certificates, capsys: pytest.CaptureFixture[str]
) -> None:
    security = CliConfig(gateway_tls_ca=files.ca).channel_security(GATEWAY)
    assert security.tls is not None
    files.write("ca", files.authority.issued)
    assert security.tls.watch()()
    files.ca.write_text("nonsense")
    assert not security.tls.watch()()
    assert capsys.readouterr() == ("", "")


def test_up_asks_for_the_ca_of_a_service_that_speaks_tls(files: Certificates) -> None:
    config = CliConfig(search_tls_certificate=files.server.certificate)
    with pytest.raises(CommandError, match="Set GROUNDWIRE_SEARCH_TLS_CA too"):
        plan_of(config)
    both = CliConfig(search_tls_certificate=files.server.certificate, search_tls_ca=files.ca)
    assert fleet_security(both)["search"].tls is not None
    assert fleet_security(both)["gateway"] == PLAINTEXT


def test_up_shows_how_to_call_the_gateway_with_grpcurl(files: Certificates, tmp_path: Path) -> None:
    assert grpcurl_options(CliConfig()) == "-plaintext"
    odd = tmp_path / "my ca.pem"
    everything = CliConfig(
        gateway_tls_ca=odd,
        client_tls_certificate=files.client.certificate,
        client_tls_key=files.client.key,
        gateway_api_keys_file=tmp_path / "keys.txt",
        api_key="key-0123456789abcdef",
    )
    assert grpcurl_options(everything) == (
        f"-cacert '{odd}' -cert {files.client.certificate} -key {files.client.key} "
        '-H "authorization: Bearer $GROUNDWIRE_API_KEY"'
    )


@pytest.mark.parametrize(
    ("details", "told"),
    [
        ("… CERTIFICATE_VERIFY_FAILED: certificate has expired: OK", "not accepted (certificate has expired)"),
        ("… Hostname Verification Check failed.", "for other names"),
        ("Tls handshake failed …: WRONG_VERSION_NUMBER: …", "does not speak TLS"),
        ("failed to connect to all addresses; last error: …: Socket closed", "set GROUNDWIRE_SEARCH_TLS_CA"),
    ],
)
def test_where_both_sides_do_not_agree_it_says_what_to_set(details: str, told: str) -> None:
    lines = " ".join(distrust_lines(SEARCH, "there", details))
    assert told in lines
    assert "GROUNDWIRE_SEARCH_TLS_CA" in lines


@pytest.mark.parametrize("details", ["Connection refused", "Socket closed", "DNS resolution failed", ""])
def test_other_failures_are_not_taken_for_that(details: str) -> None:
    assert distrust_lines(SEARCH, "there", details) == []


async def test_waiting_for_a_service_ends_where_no_waiting_would_help(files: Certificates, tmp_path: Path) -> None:
    theirs = Certificates(tmp_path / "theirs")
    tls = Secured(search_tls_certificate=theirs.server.certificate, search_tls_key=theirs.server.key)
    server = RpcServer("127.0.0.1:0", [], ServerSecurity(server_tls(tls, "search")))
    address = await server.start()
    await server.set_serving(True)
    try:
        trusting = CliConfig(search_tls_ca=theirs.ca).channel_security(SEARCH)
        await wait_until_serving(address, "", timeout_seconds=30, security=trusting)
        distrusting = CliConfig(search_tls_ca=files.ca).channel_security(SEARCH)
        with pytest.raises(NotServing, match="certificate that is not accepted"):
            await wait_until_serving(address, "", timeout_seconds=60, security=distrusting)
        with pytest.raises(NotServing, match="closes every connection"):
            await wait_until_serving(address, "", timeout_seconds=60)
    finally:
        await server.stop(0)

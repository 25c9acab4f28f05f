from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from groundwire_rpc.security import ServerSecurity, backend_security, is_loopback
from groundwire_rpc.settings import BearerToken, Settings, SettingsError, load_settings
from tests.support.certificates import Certificates, Secured

TOKEN = SecretStr("0123456789abcdef")


def secured(settings: Secured, listen: str, token: SecretStr | None = None, *, allow: bool = False) -> ServerSecurity:
    return backend_security(settings, "search", listen, token=token, reflection=True, allow_insecure=allow)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:0", True),
        ("127.9.9.9:50051", True),
        ("[::1]:0", True),
        ("localhost:0", True),
        ("LOCALHOST:0", True),
        ("0.0.0.0:0", False),
        ("[::]:0", False),
        ("10.0.0.1:50051", False),
        ("gateway:50051", False),
        ("localhost.example.org:1", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_nothing_is_asked_for_on_the_loopback_address() -> None:
    assert secured(Secured(), "127.0.0.1:0") == ServerSecurity()


def test_beyond_it_everything_that_is_missing_is_named_with_the_way_around() -> None:
    with pytest.raises(SettingsError) as caught:
        secured(Secured(), "0.0.0.0:50052")
    told = str(caught.value)
    assert told.startswith("GROUNDWIRE_SEARCH_LISTEN is 0.0.0.0:50052, which other hosts can reach")
    for variable in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA"):
        assert f"GROUNDWIRE_SEARCH_{variable}" in told
    assert "GROUNDWIRE_BACKEND_TOKEN" in told
    assert "GROUNDWIRE_ALLOW_INSECURE_LISTEN=true" in told


def test_a_token_without_tls_or_tls_without_a_token_is_not_enough(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    with pytest.raises(SettingsError) as caught:
        secured(Secured(), "0.0.0.0:1", TOKEN)
    assert "no TLS" in str(caught.value)
    assert "who they are" not in str(caught.value)
    tls = Secured(search_tls_certificate=files.server.certificate, search_tls_key=files.server.key)
    with pytest.raises(SettingsError) as caught:
        secured(tls, "0.0.0.0:1")
    assert "no TLS" not in str(caught.value)
    assert "who they are" in str(caught.value)
    assert secured(tls, "0.0.0.0:1", TOKEN).gate is not None
    mutual = tls.model_copy(update={"search_tls_client_ca": files.ca})
    assert secured(mutual, "0.0.0.0:1").tls is not None


def test_an_operator_may_insist() -> None:
    assert secured(Secured(), "0.0.0.0:1", allow=True) == ServerSecurity()


class WithToken(Settings):
    """A token."""

    token: BearerToken | None = None


@pytest.mark.parametrize("value", ["2short4it", "0123456789 abcdef", "0123456789abcdéf", "0123456789abcdef\n"])
def test_a_token_that_cannot_be_sent_or_could_be_guessed_is_refused_unseen(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDWIRE_TOKEN", value)
    with pytest.raises(SettingsError, match="GROUNDWIRE_TOKEN") as caught:
        load_settings(WithToken, env_file=None)
    assert value.strip() not in str(caught.value)


def test_a_token_masks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDWIRE_TOKEN", "0123456789abcdef")
    assert "0123456789abcdef" not in repr(load_settings(WithToken, env_file=None))

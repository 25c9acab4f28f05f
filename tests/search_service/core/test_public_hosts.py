from __future__ import annotations

import pytest

from search_service.core.public_hosts import is_public
from search_service.core.urls import web_address


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "sub.example.org",
        "local.example.org",
        "home.example.com",
        "xn--bcher-kva.example",
        "1.1.1.1",
        "8.8.8.8",
        "[2001:4860:4860::8888]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::808:808]",
        "10.example.org",
        "7.eleven.com",
    ],
)
def test_public(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "a.localhost",
        "printer.local",
        "router",
        "metadata.google.internal",
        "wiki.corp",
        "nas.home.arpa",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "256.1.1.1",
        "1.2.3.4.5",
        "0.0.0.0",  # noqa: S104 - parsed, not bound
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:7f00:1]",
        "[2002:7f00:1::]",
        "[64:ff9b::a00:1]",
    ],
)
def test_internal(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize(
    "raw",
    [
        "http://１２７.0.0.1/",  # full-width digits become ASCII ones
        "http://127。0。0。1/",
        "http://127.0.0.1./",
        "http://LocalHost/",
        "http://[::FFFF:127.0.0.1]/",
        "http://0X7F.1/",
        "http://192.168.0.1:8080/admin",
    ],
)
def test_no_spelling_of_an_internal_host_comes_through(raw: str) -> None:
    assert web_address(raw) is None

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.urls import web_address


@pytest.mark.parametrize(
    ("raw", "url", "host"),
    [
        ("https://www.Example.org/A?b=C#d", "https://www.example.org/A?b=C#d", "example.org"),
        (" HTTP://example.org:80 ", "http://example.org", "example.org"),
        ("https://example.org:8443/x", "https://example.org:8443/x", "example.org"),
        ("https://example.org./", "https://example.org/", "example.org"),
        ("https://bücher.example/ü?q=é", "https://xn--bcher-kva.example/%C3%BC?q=%C3%A9", "xn--bcher-kva.example"),
        ("https://example.org/a|b%20c", "https://example.org/a%7Cb%20c", "example.org"),
        ("http://8.8.8.8/x", "http://8.8.8.8/x", "8.8.8.8"),
        ("http://[2001:4860:4860::8888]:8080/x", "http://[2001:4860:4860::8888]:8080/x", "[2001:4860:4860::8888]"),
    ],
)
def test_what_comes_through(raw: str, url: str, host: str) -> None:
    address = web_address(raw)
    assert address is not None
    assert (address.url, address.host) == (url, host)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "example.org",
        "//example.org/",
        "javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "ftp://example.org/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@example.org/",
        "https://u:p@example.org/",
        "https://@example.org",
        "https://example.org:99999/",
        "https://example.org:x/",
        "https://exa mple.org/",
        "https://example.org/\x00",
        "https://example.org\\@x/",
        "https://[::1",
        "https://[v1.x]/",
        "https://a..b/",
        "https://<b>/",
        "https://example.org/\ud800",
        "https://" + "a" * 9_000,
        "https://\u202egro.elpmaxe/",
        "http://127.0.0.1/x",
        "http://[::1]:8080/x",
        "http://localhost/",
        "http://LOCALHOST.:8900/",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_what_does_not(raw: str) -> None:
    assert web_address(raw) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://example.org/a", "HTTP://EXAMPLE.org:80/a/#part"),
        ("https://example.org", "https://example.org/"),
        ("https://example.org/a?x=1", "https://example.org/a?utm_source=n&x=1&fbclid=2&utm_medium="),
        ("https://example.org/?gclid=1", "https://example.org:443"),
    ],
)
def test_one_page(one: str, other: str) -> None:
    assert _key(one) == _key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://example.org/a", "https://example.org/A"),
        ("https://example.org/?x=1", "https://example.org/?x=2"),
        ("https://example.org/#!/one", "https://example.org/#!/two"),
        ("https://example.org:8443/", "https://example.org/"),
        ("https://example.org/?ref=a", "https://example.org/"),
        ("https://example.org/a", "https://sub.example.org/a"),
        ("https://example.org/#/one", "https://example.org/#/two"),
    ],
)
def test_two_pages(one: str, other: str) -> None:
    assert _key(one) != _key(other)


@given(st.one_of(st.text(), st.text().map("https://".__add__), st.text().map("https://example.org/".__add__)))
def test_any_text_is_an_address_or_none(raw: str) -> None:
    address = web_address(raw)
    if address is not None:
        assert address.url.isascii()
        assert address.url.isprintable()
        assert address.url.startswith(("http://", "https://"))
        again = web_address(address.url)
        assert again == address


def _key(raw: str) -> str:
    address = web_address(raw)
    assert address is not None
    return address.key

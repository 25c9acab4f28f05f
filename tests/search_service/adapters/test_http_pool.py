"""HTTP/2 as a real server over TLS offers it, and what is left after requests were cut short."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from search_service.adapters.http_pool import HttpPool
from tests.support.brave_stand_in import BraveStandIn
from tests.support.http2_server import OPENSSL, Http2Server, make_certificate

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="needs the openssl command for a certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


async def get(pool: HttpPool, url: str, timeout_seconds: float = 5.0) -> httpx.Response:
    async with (
        asyncio.timeout(timeout_seconds),
        pool.get(httpx.URL(url), headers={}, timeout=httpx.Timeout(timeout_seconds)) as response,
    ):
        async for _ in response.aiter_raw():
            pass
    return response


async def test_http_2_is_spoken_where_it_is_offered_on_one_connection(trusted: Path) -> None:
    async with Http2Server(trusted, b"{}") as server:
        pool = HttpPool()
        answers = [await get(pool, server.base_url)]
        answers += await asyncio.gather(*(get(pool, server.base_url) for _ in range(20)))
        await pool.close()
    assert {answer.http_version for answer in answers} == {"HTTP/2"}
    assert server.protocols == ["h2"]


async def test_requests_that_were_cut_short_do_not_wear_a_connection_out(trusted: Path) -> None:
    async with Http2Server(trusted, b"{}") as server:
        pool = HttpPool()
        await get(pool, server.base_url)
        server.silent = True
        for _ in range(3):  # together more than the 100 streams that a connection may have
            cut = [get(pool, server.base_url, 0.2) for _ in range(50)]
            outcomes = await asyncio.gather(*cut, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} <= {TimeoutError, httpx.ReadTimeout}
        server.silent = False
        assert (await get(pool, server.base_url)).status_code == 200
        await pool.close()


async def test_a_cut_leaves_other_requests_their_answers() -> None:
    async with BraveStandIn() as brave:
        brave.slow_seconds = 0.5
        pool = HttpPool()
        slow = asyncio.create_task(get(pool, f"{brave.base_url}/web/search?q=fault:slow"))
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            await get(pool, f"{brave.base_url}/web/search?q=fault:trickle", 0.1)
        assert not slow.done()
        assert (await slow).is_closed
        await pool.close()

"""An HTTP/2 server over TLS on loopback, with a certificate made for the occasion by the openssl command."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

OPENSSL = shutil.which("openssl")


def make_certificate(folder: Path) -> Path:
    """A key and a self-signed certificate for localhost, both in the file that is returned."""
    assert OPENSSL is not None
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([OPENSSL, "req", "-x509", *options, *subject, *files], check=True, capture_output=True, timeout=30)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


class Http2Server:
    """Answers every request with the same body, or never while `silent`."""

    def __init__(self, certificate: Path, body: bytes) -> None:
        self.silent = False
        self.protocols: list[str | None] = []
        """What each connection agreed on."""
        self._body = body
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.base_url = f"https://localhost:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0.05)  # for the closing of TLS

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        try:
            while data := await reader.read(65_536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived) and not self.silent:
                        connection.send_headers(event.stream_id, [(":status", "200")])
                        connection.send_data(event.stream_id, self._body, end_stream=True)
                writer.write(connection.data_to_send())
        except (OSError, h2.exceptions.ProtocolError):
            writer.close()

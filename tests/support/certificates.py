"""Real certificates for tests, and the settings that name them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from groundwire_cli.certificates import LOCAL_HOSTS, Authority, Issued
from groundwire_cli.private_files import replace_file
from groundwire_rpc.settings import Settings, SettingsPath

LONG_AGO = datetime.now(UTC) - timedelta(days=30)


class Secured(Settings):
    """The TLS settings of a service `search` and of its clients."""

    search_tls_certificate: SettingsPath | None = None
    search_tls_key: SettingsPath | None = None
    search_tls_client_ca: SettingsPath | None = None
    search_tls_ca: SettingsPath | None = None
    client_tls_certificate: SettingsPath | None = None
    client_tls_key: SettingsPath | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """Where a certificate and its key are."""

    certificate: Path
    key: Path


class Certificates:
    """A CA in a folder, and what it has signed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.authority = Authority.create("Tests", days=2)
        self.ca = self.write("ca", self.authority.issued).certificate
        self.server = self.write("server", self.authority.server(LOCAL_HOSTS, days=2))
        self.client = self.write("client", self.authority.client("tests", days=2))

    def write(self, name: str, issued: Issued) -> Files:
        """Put a certificate into the folder, in the place of one that is there."""
        files = Files(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        replace_file(files.certificate, issued.certificate, mode=0o644)
        replace_file(files.key, issued.key, mode=0o600)
        return files

    def expired_server(self) -> Files:
        return self.write("expired-server", self.authority.server(LOCAL_HOSTS, days=1, now=LONG_AGO))

    def expired_client(self) -> Files:
        return self.write("expired-client", self.authority.client("tests", days=1, now=LONG_AGO))

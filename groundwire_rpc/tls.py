"""TLS from the files that settings name, for servers and clients: checked at the start, loaded again on change."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from groundwire_rpc.reloading import Reloading
from groundwire_rpc.settings import FileSetting, Settings, SettingsError

CLIENT_CERTIFICATE: Final = "client_tls_certificate"
CLIENT_KEY: Final = "client_tls_key"
"""The fields of a client's own certificate and key, the same for every service that it calls."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a server proves itself with, and which callers it takes."""

    credentials: grpc.ServerCredentials
    """For a port. New connections see files that were replaced; those that are open go on as they are."""
    asks_for_certificates: bool
    """Whether only callers with a certificate of the client CA are taken."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Which servers a client trusts, and what it proves itself with."""

    credentials: Reloading[grpc.ChannelCredentials]
    """For a channel; loaded again on change."""

    def watch(self) -> Callable[[], bool]:
        """A function for one channel, which looks at the files and tells whether there are new credentials since."""
        seen = self.credentials.value

        def is_renewed() -> bool:
            nonlocal seen
            self.credentials.refresh()
            before, seen = seen, self.credentials.value
            return seen is not before

        return is_renewed


def server_tls(settings: Settings, service: str) -> ServerTls | None:
    """TLS of `service` from its fields <service>_tls_certificate, _key and _client_ca. None where none is set.

    Raises SettingsError where a file is missing, is no PEM, or the key is not the certificate's.
    """
    certificate = settings.file(f"{service}_tls_certificate")
    key = settings.file(f"{service}_tls_key")
    client_ca = settings.file(f"{service}_tls_client_ca")
    if not _go_together(certificate, key):
        if client_ca.path is not None:
            raise SettingsError(f"{client_ca.variable} is set without {certificate.variable}: set that too.")
        return None

    def load() -> grpc.ServerCertificateConfiguration:
        pair = _read_pair(certificate, key)
        authorities = _read_authorities(client_ca) if client_ca.path is not None else None
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)

    files = [file.path for file in (certificate, key, client_ca) if file.path is not None]
    loaded = Reloading(files, load)
    # gRPC asks before each handshake, from a thread of its own. None: it is to go on with what it has.
    credentials = grpc.dynamic_ssl_server_credentials(
        loaded.value,
        lambda: loaded.value if loaded.refresh() else None,  # type: ignore[arg-type, return-value]  # None is documented
        require_client_authentication=client_ca.path is not None,
    )
    return ServerTls(credentials, client_ca.path is not None)


def client_tls(settings: Settings, service: str, *, logs: bool = True) -> ClientTls | None:
    """TLS towards `service` from the fields <service>_tls_ca, client_tls_certificate and client_tls_key.

    None where no CA is set: then the service is called in plaintext. `logs`: whether it is logged when files change.
    Raises SettingsError.
    """
    ca = settings.file(f"{service}_tls_ca")
    certificate, key = settings.file(CLIENT_CERTIFICATE), settings.file(CLIENT_KEY)
    has_pair = _go_together(certificate, key)
    if ca.path is None:
        return None

    def load() -> grpc.ChannelCredentials:
        authorities = _read_authorities(ca)
        private_key, chain = _read_pair(certificate, key) if has_pair else (None, None)
        return grpc.ssl_channel_credentials(authorities, private_key, chain)

    files = [file.path for file in (ca, certificate, key) if file.path is not None]
    return ClientTls(Reloading(files, load, logs=logs))


def _go_together(certificate: FileSetting, key: FileSetting) -> bool:
    """Whether both are set. Raises SettingsError where only one is."""
    for one, other in ((certificate, key), (key, certificate)):
        if one.path is not None and other.path is None:
            raise SettingsError(f"{one.variable} is set without {other.variable}: a certificate needs its key.")
    return certificate.path is not None


def _read_pair(certificate: FileSetting, key: FileSetting) -> tuple[bytes, bytes]:
    """The private key and the certificate chain in PEM. Raises SettingsError where they do not belong together."""
    chain, private_key = certificate.read(), key.read()
    if certificate.path is None or key.path is None:
        raise AssertionError("both were read")
    if b"-----BEGIN CERTIFICATE-----" not in chain:
        raise certificate.bad("holds no certificate in PEM (-----BEGIN CERTIFICATE-----).")
    if b"PRIVATE KEY-----" not in private_key:
        raise key.bad("holds no private key in PEM (-----BEGIN PRIVATE KEY-----).")
    if b"ENCRYPTED" in private_key:
        raise key.bad("is protected by a passphrase. Take it off: openssl pkey -in KEY -out NEW_KEY")
    if _is_edwards(private_key):
        raise key.bad("is an Ed25519 or Ed448 key, with which gRPC agrees on nothing. Use one for ECDSA or RSA.")
    try:
        # The standard library compares a key and a certificate in files only. Without a passphrase it might ask.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.path, key.path, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise key.bad(
                f"is not the key of the certificate in {certificate.variable} ({certificate.path})."
            ) from None
        raise certificate.bad(
            f"cannot be used with the key in {key.variable} ({key.path}): {error.reason or error}."
        ) from None
    return private_key, chain


def _is_edwards(private_key: bytes) -> bool:
    """Whether it is a key that gRPC's TLS reads and then has no signature algorithm for (RFC 8410)."""
    body = b"".join(private_key.partition(b"-----BEGIN PRIVATE KEY-----")[2].partition(b"-----")[0].split())
    try:
        der = base64.b64decode(body)
    except ValueError:
        return False  # whatever it is, it is refused as no key of the certificate
    # PrivateKeyInfo: the version comes first, then the algorithm's identifier.
    return any(oid in der[:16] for oid in (b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x71"))


def _read_authorities(ca: FileSetting) -> bytes:
    """The CA certificates in PEM. Raises SettingsError where there is none."""
    authorities = ca.read()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authorities.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        raise ca.bad("holds no CA certificate in PEM (-----BEGIN CERTIFICATE-----).") from None
    return authorities


_NOT_ACCEPTED: Final = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([^:]+)")


def tls_problem(details: str) -> str | None:
    """What is wrong with a server's TLS by the details of a failed call, as words after `it`. None: nothing is."""
    if found := _NOT_ACCEPTED.search(details):
        return f"has a certificate that is not accepted ({found[1].strip()})"
    if "Hostname Verification Check failed" in details:
        return "has a certificate for other names than this"
    if "WRONG_VERSION_NUMBER" in details:
        return "does not speak TLS"
    if "tls handshake failed" in details.lower():
        return "did not agree on TLS"
    return None


def closed_at_once(details: str) -> bool:
    """Whether, from the details of a failed call, something listened and ended the connection before any call.

    So ends a plaintext connection to a server that wants TLS, and one without the certificate that a server wants.
    """
    return "failed to connect" in details and "Socket closed" in details

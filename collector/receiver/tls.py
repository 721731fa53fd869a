"""TLS for both doors, with certificates that are read again when their files change.

Looked at on each handshake: what was renewed is used by the next connection, and a renewal that is half written (or
does not fit its key) changes nothing but a line in the log.
"""

import ssl
import threading
from pathlib import Path
from typing import Any

import grpc
import msgspec

from collector.errors import Misconfigured
from collector.telemetry import ErrorLog

Stamp = tuple[tuple[int, int, int], ...]


class Pair(msgspec.Struct, frozen=True):
    """What one version of the files holds."""

    stamp: Stamp
    certificate: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext


class Certificates:
    """The server's certificate and key, and the authority of the clients' certificates where those are asked for.

    Raises Misconfigured where the files can't be used at the start.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None, errors: ErrorLog) -> None:
        self._files = [certificate, key, *([client_ca] if client_ca else [])]
        self._errors = errors
        self._lock = threading.Lock()  # gRPC asks from threads of its own
        try:
            self._pair = self._read()
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(str(file) for file in self._files)
            raise Misconfigured(
                f"The TLS files {names} can't be used ({error.strerror or type(error).__name__}). XRAY_TLS_CERT must "
                "hold a PEM certificate chain and XRAY_TLS_KEY its key, without a password; XRAY_TLS_CLIENT_CA "
                "the certificates of the authority that signs the clients'."
            ) from error

    def current(self) -> Pair:
        """The newest pair that can be used."""
        with self._lock:
            try:
                if self._stamps() != self._pair.stamp:
                    self._pair = self._read()
            except (OSError, ssl.SSLError) as error:
                self._errors.report("certificates_not_reloaded", error)
            return self._pair

    def grpc_credentials(self) -> Any:
        given = self.current()

        def newer() -> Any:
            nonlocal given
            pair = self.current()
            if pair is given:
                return None  # go on with what you have
            given = pair
            return _grpc_configuration(pair)

        return grpc.dynamic_ssl_server_credentials(
            _grpc_configuration(given), newer, require_client_authentication=given.client_ca is not None
        )

    def http_context(self) -> ssl.SSLContext:
        """A context that hands each connection over to the current one."""

        def at_hello(connection: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext) -> None:
            connection.context = self.current().context

        context = self._context()
        context.sni_callback = at_hello
        return context

    def _read(self) -> Pair:
        stamp = self._stamps()
        contents = [file.read_bytes() for file in self._files]
        client_ca = contents[2] if len(contents) > 2 else None
        return Pair(stamp, contents[0], contents[1], client_ca, self._context())

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._files[0], self._files[1], password=_no_password)
        if len(self._files) > 2:
            context.load_verify_locations(self._files[2])
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _stamps(self) -> Stamp:
        stats = [file.stat() for file in self._files]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)


def _no_password() -> str:
    raise ssl.SSLError("the key has a password")


def _grpc_configuration(pair: Pair) -> Any:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], pair.client_ca)

"""TLS and mTLS on both doors; renewed certificates are used without a restart."""

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import Request

import grpc
import httpx
import pytest

from collector.commands.client import opener
from collector.errors import Misconfigured
from collector.receiver.tls import Certificates
from collector.store.database import Database
from collector.telemetry import ErrorLog, Telemetry
from tests.integration.receiver.conftest import PROTOBUF, SERVICES, Receiver, Setup, receiving
from tests.integration.receiver.otlp import span, traces

FILES = Path(__file__).parent / "tls"
AUTHORITY = FILES / "authority.pem"


class Folder:
    """A server's certificate files as they lie on its disk."""

    def __init__(self, path: Path) -> None:
        self.certificate, self.key = path / "server.pem", path / "server.key"
        self.install("server-1")

    def install(self, name: str) -> None:
        shutil.copy(FILES / f"{name}.key", self.key)
        shutil.copy(FILES / f"{name}.pem", self.certificate)

    def certificates(self, errors: ErrorLog) -> Certificates:
        return Certificates(self.certificate, self.key, None, errors)

    def mutual(self, errors: ErrorLog) -> Certificates:
        return Certificates(self.certificate, self.key, AUTHORITY, errors)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@contextlib.asynccontextmanager
async def over_tls(database: Database, folder: Folder, *, mutual: bool = False) -> AsyncIterator[Receiver]:
    setup = Setup(tls=folder.mutual if mutual else folder.certificates)
    async with receiving(database, setup) as receiver:
        yield receiver


def channel(receiver: Receiver, client: str | None = None) -> grpc.aio.Channel:
    key = (FILES / f"{client}.key").read_bytes() if client else None
    chain = (FILES / f"{client}.pem").read_bytes() if client else None
    credentials = grpc.ssl_channel_credentials(AUTHORITY.read_bytes(), key, chain)
    # A pool of its own: a channel that shared a connection would shake no hands.
    return grpc.aio.secure_channel(receiver.target, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


async def export_grpc(receiver: Receiver, client: str | None = None) -> bytes:
    async with channel(receiver, client) as opened:
        export = opened.unary_unary(f"/{SERVICES['traces'][0]}/Export")
        return bytes(await export(traces(span()).SerializeToString(), timeout=5))


def client_context(client: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=AUTHORITY)
    if client:
        context.load_cert_chain(FILES / f"{client}.pem", FILES / f"{client}.key")
    return context


async def export_http(receiver: Receiver, client: str | None = None, host: str = "127.0.0.1") -> int:
    url = f"https://{host}:{receiver.http_port}/v1/traces"
    async with httpx.AsyncClient(verify=client_context(client)) as opened:
        return (await opened.post(url, content=traces(span()).SerializeToString(), headers=PROTOBUF)).status_code


async def server_name(port: int, host: str = "127.0.0.1") -> str:
    """Whose certificate a port shows."""
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return str(certificate["subject"][0][0][1])


async def test_both_doors_over_tls(database: Database, folder: Folder) -> None:
    async with over_tls(database, folder) as receiver:
        assert await export_grpc(receiver) == b""
        assert await export_http(receiver) == 200
        assert await export_http(receiver, host="localhost") == 200
        assert len(await receiver.steps()) == 3


async def test_the_commands_trust_the_certificate_that_is_served(database: Database, folder: Folder) -> None:
    async with over_tls(database, folder) as receiver:
        request = Request(f"https://127.0.0.1:{receiver.http_port}/v1/traces", data=b"", method="POST")
        with await asyncio.to_thread(opener(request.full_url, folder.certificate).open, request) as answer:
            assert answer.status == 200


async def test_plain_text_is_not_spoken_there(database: Database, folder: Folder) -> None:
    async with over_tls(database, folder) as receiver:
        async with grpc.aio.insecure_channel(receiver.target) as plain:
            with pytest.raises(grpc.aio.AioRpcError):
                await plain.unary_unary(f"/{SERVICES['traces'][0]}/Export")(b"", timeout=5)
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.HTTPError):
                await client.post(f"http://127.0.0.1:{receiver.http_port}/v1/traces", content=b"")


async def test_mutual_tls_takes_known_clients_only(database: Database, folder: Folder) -> None:
    async with over_tls(database, folder, mutual=True) as receiver:
        assert await export_grpc(receiver, "client") == b""
        assert await export_http(receiver, "client") == 200
        for nobody in (None, "stranger"):
            with pytest.raises(grpc.aio.AioRpcError):
                await export_grpc(receiver, nobody)
            with pytest.raises((httpx.HTTPError, ssl.SSLError)):
                await export_http(receiver, nobody)
        assert len(await receiver.steps()) == 2


async def test_renewed_certificates_are_used_by_the_next_connection(database: Database, folder: Folder) -> None:
    async with over_tls(database, folder) as receiver:
        for port in (receiver.grpc_port, receiver.http_port):
            assert await server_name(port) == "server-1"
        folder.install("server-2")
        for port in (receiver.grpc_port, receiver.http_port):
            assert await server_name(port) == "server-2"
            assert await server_name(port, "localhost") == "server-2"
        assert await export_grpc(receiver) == b""
        assert await export_http(receiver) == 200


async def test_a_half_written_renewal_changes_nothing(database: Database, folder: Folder) -> None:
    async with over_tls(database, folder) as receiver:
        shutil.copy(FILES / "server-2.key", folder.key)
        for port in (receiver.grpc_port, receiver.http_port):
            assert await server_name(port) == "server-1"
        assert receiver.counted("xray_errors_total", event="certificates_not_reloaded") >= 1
        shutil.copy(FILES / "server-2.pem", folder.certificate)
        for port in (receiver.grpc_port, receiver.http_port):
            assert await server_name(port) == "server-2"


@pytest.mark.parametrize(
    ("certificate", "key", "client_ca"),
    [
        ("missing.pem", "server-1.key", None),
        ("server-1.pem", "server-2.key", None),
        ("server-1.key", "server-1.key", None),
        ("server-1.pem", "server-1.key", "missing.pem"),
        ("server-1.pem", "server-1.key", "make-certificates.sh"),
    ],
)
def test_files_that_can_not_be_used_are_named_at_the_start(certificate: str, key: str, client_ca: str | None) -> None:
    authority = FILES / client_ca if client_ca else None
    with pytest.raises(Misconfigured, match=certificate):
        Certificates(FILES / certificate, FILES / key, authority, Telemetry().errors)

"""What strangers send can't fill the memory: measured on a process of its own."""

import asyncio
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.receiver.conftest import MEBIBYTE, SERVICES
from tests.integration.receiver.h2 import Http2
from tests.integration.receiver.lone_server import LIMIT_BYTES
from tests.integration.receiver.otlp import post_head

CLIENTS = 32
BOMB = gzip.compress(bytes(60 * MEBIBYTE))
"""Below the 64 KiB that HTTP/2 lets a client send before it hears from the server."""


class LoneServer:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.process = process
        ports = json.loads(process.stdout.readline())
        self.grpc_port, self.http_port = ports["grpc"], ports["http"]

    def peak_mebibytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024


@pytest.fixture
def server() -> Iterator[LoneServer]:
    command = [sys.executable, "-m", "tests.integration.receiver.lone_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield LoneServer(process)
        process.communicate(timeout=10)


async def grpc_status(port: int, body: bytes) -> bytes:
    """The trailers that a compressed message is answered with."""
    async with Http2.connect(port) as connection:
        connection.headers(f"/{SERVICES['traces'][0]}/Export", **{"grpc-encoding": "gzip"})
        connection.message(body, compressed=True)
        while True:
            frame = await connection.frame()
            assert frame.kind != Http2.GOAWAY
            if frame.kind == Http2.HEADERS and frame.flags & Http2.END_STREAM:
                return frame.payload


async def http_status(port: int, body: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post_head(len(body), "application/x-protobuf", **{"content-encoding": "gzip"}) + body)
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_G2_bombs_of_many_grpc_clients(server: LoneServer) -> None:
    assert len(BOMB) < 65_000
    await grpc_status(server.grpc_port, gzip.compress(b""))
    before = server.peak_mebibytes()
    answers = await asyncio.gather(*(grpc_status(server.grpc_port, BOMB) for _ in range(CLIENTS)))
    assert all(b"larger than max" in answer for answer in answers)
    assert server.peak_mebibytes() - before < 100


async def test_H9_bombs_of_many_http_clients(server: LoneServer) -> None:
    assert await http_status(server.http_port, gzip.compress(b"")) == 200
    before = server.peak_mebibytes()
    answers = await asyncio.gather(*(http_status(server.http_port, BOMB) for _ in range(CLIENTS)))
    assert set(answers) <= {413, 503}
    assert server.peak_mebibytes() - before < 4 * LIMIT_BYTES / MEBIBYTE

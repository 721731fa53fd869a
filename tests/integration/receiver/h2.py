"""Just enough HTTP/2 to see the frames that a gRPC server sends."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

FRAME_BYTES = 16_384
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Http2:
    DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
    END_STREAM, END_HEADERS = 1, 4

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        writer.write(PREFACE)
        self._write(self.SETTINGS, 0, 0, b"")

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: int) -> AsyncIterator["Http2"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    def ping(self) -> None:
        self._write(self.PING, 0, 0, b"xray-png")

    def headers(self, path: str, **more: str) -> None:
        """The head of a call on stream 1; its message is still to come."""
        named = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x"}
        named |= {"content-type": "application/grpc", "te": "trailers"} | more
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in named.items())
        self._write(self.HEADERS, self.END_HEADERS, 1, block)

    def message(self, body: bytes, *, compressed: bool = False) -> None:
        data = struct.pack(">BI", compressed, len(body)) + body
        for at in range(0, len(data), FRAME_BYTES):
            last = at + FRAME_BYTES >= len(data)
            self._write(self.DATA, self.END_STREAM if last else 0, 1, data[at : at + FRAME_BYTES])

    async def frame(self) -> Frame:
        head = await self._reader.readexactly(9)
        size = int.from_bytes(head[:3], "big")
        stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
        return Frame(head[3], head[4], stream, await self._reader.readexactly(size))

    def _write(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._writer.write(
            struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload
        )


def _text(text: str) -> bytes:
    """A literal of HPACK, not compressed."""
    assert len(text) < 127
    return bytes((len(text),)) + text.encode()

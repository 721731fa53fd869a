"""Compressed bodies, undone a piece at a time, so that a small body can't become a large one unseen."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import zstandard

from collector.errors import Rejected, TooLarge
from collector.receiver.admission import Seat

PIECE_BYTES = 1 << 20
ZLIB_INPUT_BYTES = 64 << 10
ZSTD_INPUT_BYTES = 1 << 10
"""Small, since zstd's output can't be bounded: 4 bytes of input may mean 128 KiB."""
ZSTD_WINDOW_BYTES = 8 << 20
MOST_MEMBERS = 10_000
"""Streams may be joined end to end (bgzip does, every 64 KiB); more than this is an attack on our time."""
CODINGS = ("gzip", "deflate", "zstd")


async def inflate(body: bytes, coding: str, limit_bytes: int, seat: Seat) -> bytes:
    """The body without its `coding`. Raises TooLarge past the limit, Rejected for what is no such stream.

    What does not come out small is measured first, keeping nothing, and takes its room before it is kept.
    """
    kept, size = list[bytes](), 0
    for piece in _pieces(body, coding):
        size += len(piece)
        if size > limit_bytes:
            raise TooLarge(
                f"The body is over the limit of {limit_bytes} bytes after decompression. Send smaller batches."
            )
        if size <= PIECE_BYTES:
            kept.append(piece)
            continue
        kept.clear()
        await asyncio.sleep(0)
    if size > PIECE_BYTES:
        await seat.resize(len(body) + size)
        kept = [piece async for piece in _politely(body, coding)]
    return kept[0] if len(kept) == 1 else b"".join(kept)


async def _politely(body: bytes, coding: str) -> AsyncIterator[bytes]:
    for piece in _pieces(body, coding):
        yield piece
        await asyncio.sleep(0)


def _pieces(body: bytes, coding: str) -> Iterator[bytes]:
    try:
        if coding == "zstd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
            yield from _members(body, decompressor.decompressobj, ZSTD_INPUT_BYTES)
        else:
            window = zlib.MAX_WBITS + (16 if coding == "gzip" else 0)
            yield from _members(body, lambda: _Zlib(window), ZLIB_INPUT_BYTES)
    except (zlib.error, zstandard.ZstdError, EOFError):
        raise Rejected(f"The body is not a whole {coding} stream, as its Content-Encoding says.") from None


def _members(body: bytes, open_stream: Callable[[], Any], input_bytes: int) -> Iterator[bytes]:
    """The output of all streams that are joined in `body`, each to its end."""
    stream, at, members, piece = open_stream(), 0, 1, b""
    while at < len(body) or (piece and not stream.eof):  # a bounded output may lag behind the input
        given = body[at : at + input_bytes]
        piece = stream.decompress(given)
        if piece:
            yield piece
        at += len(given) - len(stream.unused_data) - len(getattr(stream, "unconsumed_tail", b""))
        if stream.eof and at < len(body):
            stream, members = open_stream(), members + 1
            if members > MOST_MEMBERS:
                raise EOFError
    if not stream.eof:
        raise EOFError


class _Zlib:
    """zlib's stream with its output bounded."""

    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)

    def decompress(self, data: bytes) -> bytes:
        return self._stream.decompress(data, PIECE_BYTES)

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    @property
    def unconsumed_tail(self) -> bytes:
        return self._stream.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._stream.eof

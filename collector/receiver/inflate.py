"""Compressed bodies, undone a piece at a time, so that a small body can't become a large one unseen."""

import asyncio
import io
import zlib
from collections.abc import Iterator

import zstandard

from collector.errors import Rejected, TooLarge
from collector.receiver.admission import Seat

PIECE_BYTES = 1 << 20
GZIP_WINDOW, ZLIB_WINDOW = 31, 15
ZSTD_WINDOW_BYTES = 8 << 20
CODINGS = ("gzip", "deflate", "zstd")


async def inflate(body: bytes, coding: str, limit_bytes: int, seat: Seat) -> bytes:
    """The body without its `coding`. Raises TooLarge past the limit, Rejected for what is no such stream."""
    pieces, size = [], 0
    for piece in _pieces(body, coding):
        size += len(piece)
        if size > limit_bytes:
            raise TooLarge(
                f"The body is over the limit of {limit_bytes} bytes after decompression. Send smaller batches."
            )
        pieces.append(piece)
        if size > PIECE_BYTES:
            await seat.resize(len(body) + size)
            await asyncio.sleep(0)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pieces(body: bytes, coding: str) -> Iterator[bytes]:
    try:
        yield from _zstd(body) if coding == "zstd" else _zlib(body, GZIP_WINDOW if coding == "gzip" else ZLIB_WINDOW)
    except (zlib.error, zstandard.ZstdError, EOFError):
        raise Rejected(f"The body is not a whole {coding} stream, as its Content-Encoding says.") from None


def _zlib(body: bytes, window: int) -> Iterator[bytes]:
    """All members of a stream: gzip files may be joined end to end."""
    while body:
        stream = zlib.decompressobj(window)
        while not stream.eof:
            piece = stream.decompress(body, PIECE_BYTES)
            body = stream.unconsumed_tail
            if piece:
                yield piece
            elif not body and not stream.eof:
                raise EOFError
        body = stream.unused_data


def _zstd(body: bytes) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).stream_reader(
        io.BytesIO(body), read_across_frames=True
    )
    while piece := reader.read(PIECE_BYTES):
        yield piece

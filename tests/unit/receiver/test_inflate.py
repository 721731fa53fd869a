"""Compressed bodies come out whole, or not at all."""

import gzip
import os
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import Overloaded, Rejected, TooLarge
from collector.receiver.admission import Admission
from collector.receiver.inflate import MOST_MEMBERS, PIECE_BYTES, inflate

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}
CODING = pytest.mark.parametrize("coding", COMPRESSORS)
LIMIT = 64 << 20


async def undo(body: bytes, coding: str, limit: int = LIMIT) -> bytes:
    async with Admission(1 << 30).seat(0) as seat:
        return await inflate(body, coding, limit, seat)


@CODING
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 5_000_000])
@pytest.mark.parametrize("fill", [b"\0", None], ids=["zeros", "noise"])
async def test_whole(coding: str, size: int, fill: bytes | None) -> None:
    data = os.urandom(size) if fill is None else fill * size
    assert await undo(COMPRESSORS[coding](data), coding) == data


@CODING
async def test_joined_streams(coding: str) -> None:
    parts = [b"a" * 10, b"", b"b" * 100_000, b"c"]
    assert await undo(b"".join(map(COMPRESSORS[coding], parts)), coding) == b"".join(parts)


@CODING
@given(data=st.binary(min_size=1, max_size=300), cut=st.integers(min_value=1, max_value=8))
async def test_a_cut_stream_is_refused(coding: str, data: bytes, cut: int) -> None:
    with pytest.raises(Rejected, match=coding):
        await undo(COMPRESSORS[coding](data)[:-cut], coding)


@CODING
@given(data=st.binary(min_size=1, max_size=300))
async def test_any_bytes_are_whole_or_refused(coding: str, data: bytes) -> None:
    try:
        whole = await undo(data, coding)
    except Rejected as refusal:
        assert coding in str(refusal)  # noqa: PT017 - both ways out are right
    else:
        assert len(whole) <= LIMIT


@CODING
async def test_garbage_behind_a_stream_is_refused(coding: str) -> None:
    with pytest.raises(Rejected):
        await undo(COMPRESSORS[coding](b"data") + b"garbage", coding)


@CODING
async def test_a_bomb_is_refused(coding: str) -> None:
    with pytest.raises(TooLarge):
        await undo(COMPRESSORS[coding](b"\0" * 2_000_000), coding, limit=1_000_000)


@CODING
async def test_a_crowd_of_tiny_streams_is_refused(coding: str) -> None:
    with pytest.raises(Rejected):
        await undo(COMPRESSORS[coding](b"x") * (MOST_MEMBERS + 1), coding)


@CODING
async def test_decompressed_bytes_take_room(coding: str) -> None:
    admission = Admission(1 << 30)
    async with admission.seat(0) as seat:
        await inflate(COMPRESSORS[coding](b"\0" * 5_000_000), coding, LIMIT, seat)
        assert admission.used_bytes >= 5_000_000
    assert admission.used_bytes == 0


@CODING
async def test_without_room_for_it_a_large_body_is_not_undone(coding: str) -> None:
    admission = Admission(6_000_000, patience_s=0.05)
    async with admission.seat(4_000_000), admission.seat(10) as seat:
        with pytest.raises(Overloaded):
            await inflate(COMPRESSORS[coding](b"\0" * 5_000_000), coding, LIMIT, seat)

"""Memory that only the start needed, given back once it is over."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

MAPS = Path("/proc/self/maps")
MADV_DONTNEED = 4


def drop_code() -> None:
    """Let go of the pages of machine code, which most of the libraries need at their start alone.

    They stay in the system's file cache, and those that run again are mapped again from there, a microsecond each.
    Does nothing where there is no such list of mappings.
    """
    if MAPS.exists():
        madvise = ctypes.CDLL(None).madvise
        for start, end in _code(MAPS.read_text()):
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)


def _code(maps: str) -> Iterator[tuple[int, int]]:
    """Read-only and executable, from a file: nothing there is ever changed, so nothing is lost."""
    for line in maps.splitlines():
        span, mode, _, _, inode, *_ = line.split(maxsplit=5)
        if mode == "r-xp" and inode != "0":
            start, end = span.split("-")
            yield int(start, 16), int(end, 16)

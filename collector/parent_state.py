"""What receiving processes know of their parent: whether its loops live, by a file that it writes each second."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

FILE_NAME = "parent.json"
PAGE_BYTES = 4096
HEARD_WITHIN_S = 4.0
"""A parent that has said nothing for so long is hung; /readyz tells within 5 s."""
PARENT = "parent"


class _State(msgspec.Struct):
    at_s: float
    """By the machine's monotonic clock, which all processes share."""
    parts: dict[str, str]


def tell_children(folder: Path, parts: Mapping[str, str]) -> None:
    """Every part of this process: "ok", or what keeps it from its work. Raises OSError.

    Written over what stands there, page for page: that needs no room, where the disk has none left.
    """
    told = msgspec.json.encode(_State(time.monotonic(), dict(parts)))
    file = os.open(folder / FILE_NAME, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(file, told.ljust(PAGE_BYTES), 0)
    finally:
        os.close(file)


def hear_parent(folder: Path) -> dict[str, str]:
    """What the parent told last, or that it tells nothing."""
    try:
        state = msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=_State)
    except (OSError, msgspec.DecodeError):
        return {PARENT: "can't be heard"}
    if time.monotonic() - state.at_s > HEARD_WITHIN_S:
        return {PARENT: "does not answer"}
    return state.parts | {PARENT: "ok"}

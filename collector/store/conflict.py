"""When a group can't be stored as it is: what kind of fault that was, and which row is to blame."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from collector.errors import Unavailable
from collector.store.database import AGAIN, classify, sqlstate

Row = TypeVar("Row")

UNENCODABLE = (ValueError, TypeError, OverflowError)

Fault = Literal["lost", "again", "data", "other"]

DATA_CLASSES = ("22", "23")
"""Data, constraints: some row will never pass."""


class Vanished(Exception):
    """An execution was deleted between being found and being merged: the group is to be written again."""


def fault_of(error: Exception) -> Fault:
    """What to do about a group that failed: its connection is `lost`, it may pass `again`, or some row is bad `data`.

    Only the conflict path may trust `data`: COPY into distributed tables reports a known key as anything.
    """
    if isinstance(classify(error), Unavailable):
        return "lost"
    state = sqlstate(error)
    if state in AGAIN or isinstance(error, Vanished):
        return "again"
    # A value that asyncpg can't encode is one of the last three.
    return "data" if state.startswith(DATA_CLASSES) or isinstance(error, UNENCODABLE) else "other"


async def bisect(
    rows: Sequence[Row], store: Callable[[Sequence[Row]], Awaitable[None]], failed: Exception
) -> list[tuple[Row, Exception]]:
    """Store the halves of rows that failed together, down to the single rows that fail alone; those are returned.

    Faults other than data are raised: then what was stored is stored, and sending it again is harmless.
    """
    if len(rows) == 1:
        return [(rows[0], failed)]
    middle = len(rows) // 2
    culprits: list[tuple[Row, Exception]] = []
    for half in (rows[:middle], rows[middle:]):
        try:
            await store(half)
        except Exception as error:
            if fault_of(error) != "data":
                raise
            culprits += await bisect(half, store, error)
    return culprits

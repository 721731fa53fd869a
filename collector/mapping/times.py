"""Times of spans as the store can hold them."""

from collector.mapping.values import Notes
from collector.model import POSTGRES_EPOCH_US

MAX_INT64 = 2**63 - 1
EARLIEST_US = -POSTGRES_EPOCH_US
"""1970: what no time at all means."""
LATEST_NS = 7_258_118_400_000_000_000
LATEST_US = LATEST_NS // 1000 - POSTGRES_EPOCH_US
"""2200: anything later is no clock, and would make partitions that nobody drops."""


def mended_times(start_ns: int, end_ns: int, notes: Notes) -> tuple[int, int, int | None]:
    """`started_at`, `start_ns` and `duration_ns` of a span whose times may not be as they should be.

    One without a start stands at its end: an execution would else begin in 1970.
    """
    started_at = (start_ns or end_ns) // 1000 - POSTGRES_EPOCH_US
    duration = _duration(start_ns, end_ns, notes)
    if start_ns > MAX_INT64 or end_ns > MAX_INT64:
        notes.altered("a time after the year 2262 was set to it")
    return min(max(started_at, EARLIEST_US), LATEST_US), min(start_ns, MAX_INT64), duration


def _duration(start_ns: int, end_ns: int, notes: Notes) -> int | None:
    if start_ns == 0:
        notes.altered("the span has no start time")
    elif end_ns == 0:
        notes.altered("the span has no end time")
    elif end_ns < start_ns:
        notes.altered("the span ends before it starts")
    else:
        return min(end_ns, MAX_INT64) - min(start_ns, MAX_INT64)
    return None

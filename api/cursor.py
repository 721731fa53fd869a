"""Where a page ended, as an opaque text."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta

from api.problems import BadQuery, Fault
from collector.store.executions import Place, StepPlace
from collector.store.ledger import LedgerPlace

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXECUTION = struct.Struct(">q16s")
STEP = struct.Struct(">q8s")


def of_execution(place: Place) -> str:
    return _text(EXECUTION.pack(_microseconds(place.started_at), place.trace_id))


def execution_place(cursor: str) -> Place:
    packed = _bytes(cursor)
    if len(packed) != EXECUTION.size:
        raise _refusal()
    microseconds, trace_id = EXECUTION.unpack(packed)
    return Place(_time(microseconds), trace_id)


def of_job(place: LedgerPlace) -> str:
    return _text(EXECUTION.pack(_microseconds(place.created_at), place.trace_id) + place.span_id)


def job_place(cursor: str) -> LedgerPlace:
    packed = _bytes(cursor)
    if len(packed) not in (EXECUTION.size, EXECUTION.size + 8):
        raise _refusal()
    microseconds, trace_id = EXECUTION.unpack(packed[: EXECUTION.size])
    return LedgerPlace(_time(microseconds), trace_id, packed[EXECUTION.size :])


def of_step(place: StepPlace) -> str:
    return _text(STEP.pack(*place))


def step_place(cursor: str) -> StepPlace:
    packed = _bytes(cursor)
    if len(packed) != STEP.size:
        raise _refusal("steps_cursor")
    return StepPlace(*STEP.unpack(packed))


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise _refusal() from None


def _text(packed: bytes) -> str:
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _bytes(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refusal() from None


def _refusal(parameter: str = "cursor") -> BadQuery:
    return BadQuery([Fault(parameter, f"it is none of ours: use next_{parameter} of the page before, unchanged")])

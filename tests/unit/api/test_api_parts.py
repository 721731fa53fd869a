"""The pure parts of the API: times, cursors, views."""

from datetime import UTC, datetime, timedelta

import pytest

from api import cursor
from api.hub import Hub
from api.problems import BadQuery
from api.query import moment
from api.views import all_attributes, time_of
from collector.model import ExecutionKey
from collector.store.executions import Place, StepPlace
from collector.store.ledger import LedgerPlace
from collector.store.reasonings import Result, Work, reasoning_of
from collector.store.steps import WideStep

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T10:00:00", datetime(2026, 5, 1, 10, tzinfo=UTC)),
        ("2026-05-01T10:00:00Z", datetime(2026, 5, 1, 10, tzinfo=UTC)),
        ("2026-05-01T10:00:00.25+02:00", datetime(2026, 5, 1, 8, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-05-01T10:00:00 02:00", datetime(2026, 5, 1, 8, tzinfo=UTC)),
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("24h", NOW - timedelta(days=1)),
        ("2w", NOW - timedelta(days=14)),
    ],
)
def test_a_time_is_iso_8601_or_how_long_ago(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "now", "15", "m", "-15m", "1.5h", "2026-13-01", "12:00"])
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="write a time like"):
        moment(text, NOW)


def test_cursors_come_back_exactly() -> None:
    trace_id, span_id = bytes(range(16)), bytes(range(8))
    place = Place(NOW + timedelta(microseconds=1), trace_id)
    assert cursor.execution_place(cursor.of_execution(place)) == place
    step = StepPlace(-5, span_id)
    assert cursor.step_place(cursor.of_step(step)) == step
    for job in (LedgerPlace(NOW, trace_id, span_id), LedgerPlace(NOW, trace_id, b"")):
        assert cursor.job_place(cursor.of_job(job)) == job


@pytest.mark.parametrize("text", ["", "a", "é" * 32, "A" * 31, "=" * 32])
def test_a_cursor_that_is_none_of_ours_is_refused(text: str) -> None:
    for read in (cursor.execution_place, cursor.step_place, cursor.job_place):
        with pytest.raises(BadQuery):
            read(text)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("{}", '{"in":"{\\"a\\": 1}","out":"hi"}'),
        ('{"x":9223372036854775807}', '{"x":9223372036854775807,"in":"{\\"a\\": 1}","out":"hi"}'),
    ],
)
def test_moved_attributes_are_put_back_beside_the_others(attributes: str, expected: str) -> None:
    wide = WideStep(attributes=attributes, input='{"a": 1}', input_key="in", output='"hi"', output_key="out")
    assert all_attributes(wide) == expected


def test_times_keep_their_microseconds() -> None:
    assert time_of(1_790_000_000_123_456_789) == datetime(2026, 9, 21, 14, 13, 20, 123_456, tzinfo=UTC)


def result(revision: int) -> Result:
    return Result(b"t", b"", "completed", "done", None, None, "m", revision, 1, NOW)


def test_the_state_of_reasoning_is_told_by_its_job_and_its_text_by_the_last_result() -> None:
    work = Work(b"t", b"", "failed", 5, '[{"message": "a"}, {"message": "b"}]', NOW)
    assert reasoning_of(None, None, 1) is None
    done = reasoning_of(result(3), None, 3)
    assert done is not None
    assert (done.status, done.text, done.stale) == ("completed", "done", False)
    stale = reasoning_of(result(3), None, 4)
    assert stale is not None
    assert stale.stale
    failed = reasoning_of(result(3), work, 4)
    assert failed is not None
    assert (failed.status, failed.text, failed.error, failed.attempts) == ("failed", "done", "b", 5)


async def test_a_watcher_is_told_of_each_execution_once_and_ends_with_the_hub() -> None:
    hub, key = Hub(), ExecutionKey(1, b"t" * 16)
    with hub.watching() as watcher:
        hub.tell([key, key])
        hub.tell([key])
        assert await watcher.changes(1) == [key]
        assert await watcher.changes(0.01) == []
        hub.close()
        assert not watcher.is_open
        assert await watcher.changes(1) == []

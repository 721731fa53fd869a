"""Today's mapping over rows that an older one wrote."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.mapping.assemble import assemble
from collector.mapping.prices import PriceTable
from collector.mapping.rates import Rates
from collector.mapping.steps import map_traces
from collector.model import Batch, ExecutionKey, StepRow, Tokens
from collector.store.database import Database
from collector.store.executions import ExecutionRow, load_steps
from collector.store.remap import remap
from collector.store.settling import Settled
from collector.store.settling import settle as write_down
from collector.store.writer import Writer, WriterOptions

NOW_NS = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * 10**9
PRICES = PriceTable({"gpt-4o": Rates(input=1e6, output=1e6)})
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.input.messages": '[{"role": "user", "parts": []}]',
    "gen_ai.output.messages": '[{"role": "assistant", "parts": []}]',
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 4,
    "gen_ai.conversation.id": "talk-1",
}


def batch_of(trace_id: bytes, spans: Iterable[dict[str, Any]], start_ns: int = NOW_NS) -> Batch:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    request.resource_spans[0].resource.attributes.add(key="service.name", value=AnyValue(string_value="shop"))
    for number, attributes in enumerate(spans, 1):
        span = scope.spans.add(trace_id=trace_id, span_id=number.to_bytes(8, "big"), name=f"span {number}")
        span.start_time_unix_nano, span.end_time_unix_nano = start_ns + number, start_ns + number + 5
        if number > 1:
            span.parent_span_id = (1).to_bytes(8, "big")
        for key, value in attributes.items():
            _set(span.attributes.add(key=key).value, value)
        if "error.type" in attributes:
            span.status.code = Status.STATUS_CODE_ERROR
    return map_traces(request, lambda _: 1)


def _set(held: AnyValue, value: Any) -> None:
    setattr(held, {str: "string_value", int: "int_value", bytes: "bytes_value"}[type(value)], value)


def as_once_mapped(row: StepRow) -> StepRow:
    """The same span as a mapping saw it that knew no dialect at all."""
    plain = dict.fromkeys(
        (
            *("input", "output", "input_key", "output_key", "model", "provider", "tool", "session_id", "extra"),
            *("tokens_input", "tokens_output", "error_type", "error_message"),
        )
    )
    attributes = row.attributes
    for key, text in ((row.input_key, row.input), (row.output_key, row.output)):
        if key is not None and text is not None:
            attributes = f'{attributes[:-1]},"{key}":{_quoted(text)}}}'
    return row._replace(**plain, attributes=attributes.replace("{,", "{"), kind="function", status="unset")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


async def store(database: Database, *batches: Batch) -> None:
    writer = Writer(database, WriterOptions(explain=False))
    await writer.start()
    for batch in batches:
        assert await writer.write(batch) == []
    await writer.stop()


async def read(database: Database, trace_id: bytes) -> tuple[list[StepRow], ExecutionRow]:
    names = ", ".join(StepRow._fields)
    async with database.connection() as conn:
        rows = await conn.fetch(f"SELECT {names} FROM steps WHERE trace_id = $1 ORDER BY span_id", trace_id)
    async with database.begin() as conn:
        _, _, execution = await load_steps(conn, ExecutionKey(1, trace_id))
    assert execution is not None
    return [StepRow(*row) for row in rows], execution


async def settle(database: Database, trace_id: bytes) -> None:
    key = ExecutionKey(1, trace_id)
    async with database.begin() as conn:
        steps, records, execution = await load_steps(conn, key)
    assert execution is not None
    steps, facts = assemble(steps, records, PriceTable())
    async with database.connection() as raw, raw.transaction():
        await write_down(raw, [Settled(key, execution.revision, facts, steps)])


def mapped(row: StepRow) -> dict[str, Any]:
    """What can be compared: the database gives times of its own type, and settling writes costs."""
    left_out = ("started_at", "cost_usd", "cost_source")
    return {name: value for name, value in row._asdict().items() if name not in left_out}


def nothing(_done: int, _total: int) -> None:
    """Nobody watches."""


async def test_rows_become_what_todays_mapping_says(database: Database) -> None:
    trace_id = os.urandom(16)
    today = batch_of(trace_id, [{"n": 1}, CALL, {**CALL, "error.type": "Overloaded"}])
    await store(database, Batch(steps=[as_once_mapped(row) for row in today.steps], origins=today.origins))
    await settle(database, trace_id)
    before, execution = await read(database, trace_id)
    assert (execution.error_count, execution.tokens, execution.session_id) == (0, None, None)

    assert await remap(database, None, nothing, PRICES) == 2

    rows, now = await read(database, trace_id)
    assert [mapped(row) for row in rows] == [mapped(row) for row in today.steps]
    assert rows[0] == before[0]
    assert (now.error_count, now.tokens, now.session_id, now.cost_usd) == (1, Tokens(60, 8), "talk-1", 68.0)
    assert (now.status, now.revision) == ("ok", execution.revision + 1)


async def test_what_is_right_already_stays_untouched(database: Database) -> None:
    trace_id = os.urandom(16)
    await store(database, batch_of(trace_id, [{"n": 1}, CALL, {"raw": b"\1", **CALL}, {"error.type": "Gone"}]))
    await settle(database, trace_id)
    before = await read(database, trace_id)
    assert await remap(database, None, nothing) == 0
    assert await read(database, trace_id) == before


async def test_an_execution_that_did_not_settle_is_left_to_do_so(database: Database) -> None:
    trace_id = os.urandom(16)
    today = batch_of(trace_id, [{"n": 1}, CALL])
    await store(database, Batch(steps=[as_once_mapped(row) for row in today.steps], origins=today.origins))
    assert await remap(database, None, nothing) == 1
    _, execution = await read(database, trace_id)
    assert (execution.settled, execution.tokens) == (False, None)


async def test_the_span_as_it_came_and_notes_of_repairs_are_kept(database: Database) -> None:
    trace_id = os.urandom(16)
    today = batch_of(trace_id, [{"raw": b"\1\2", **CALL}])
    note = "characters that are not valid UTF-8 were replaced by U+FFFD"
    old = as_once_mapped(today.steps[0])._replace(warnings=f'["{note}","an opinion of the old mapping"]')
    await store(database, Batch(steps=[old], origins=today.origins))
    assert await remap(database, None, nothing) == 1
    rows, _ = await read(database, trace_id)
    assert rows[0].warnings == f'["{note}"]'
    assert rows[0].wire is not None
    assert Span.FromString(rows[0].wire).attributes[0].value.bytes_value == b"\1\2"
    assert rows[0].model == "gpt-4o"


async def test_only_executions_since_a_time(database: Database) -> None:
    old, new = os.urandom(16), os.urandom(16)
    batches = [batch_of(old, [CALL], NOW_NS - 10 * 86_400 * 10**9), batch_of(new, [CALL])]
    for batch in batches:
        batch.steps = [as_once_mapped(row) for row in batch.steps]
    await store(database, *batches)
    since = datetime.fromtimestamp(NOW_NS // 10**9, UTC) - timedelta(days=1)
    assert await remap(database, since, nothing) == 1
    assert [(await read(database, trace_id))[0][0].model for trace_id in (old, new)] == [None, "gpt-4o"]


class Interrupted(Exception):
    """Somebody pressed a key."""


async def test_a_run_that_was_stopped_goes_on_where_it_was(database: Database) -> None:
    traces = sorted(os.urandom(16) for _ in range(3))
    batches = [batch_of(trace_id, [CALL]) for trace_id in traces]
    for batch in batches:
        batch.steps = [as_once_mapped(row) for row in batch.steps]
    await store(database, *batches)

    def stop_after_two(done: int, _: int) -> None:
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        await remap(database, None, stop_after_two)
    assert (await read(database, traces[2]))[0][0].model is None
    seen: list[tuple[int, int]] = []
    assert await remap(database, None, lambda done, total: seen.append((done, total))) == 3
    assert seen == [(2, 3), (3, 3)]
    assert await remap(database, None, lambda done, total: seen.append((done, total))) == 0
    assert seen[2:] == [(0, 3), (1, 3), (2, 3), (3, 3)]


async def test_an_execution_longer_than_a_page(database: Database) -> None:
    trace_id = os.urandom(16)
    today = batch_of(trace_id, [CALL] * 1_101)
    await store(database, Batch(steps=[as_once_mapped(row) for row in today.steps], origins=today.origins))
    assert await remap(database, None, nothing) == 1_101
    rows, _ = await read(database, trace_id)
    assert {row.tokens_input for row in rows} == {30}

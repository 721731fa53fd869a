"""The model reasoner against an endpoint that does whatever providers do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from collector.config import Settings
from collector.mapping.steps import map_traces
from collector.model import EXECUTION_SPAN, ExecutionKey
from collector.reasoning.making import make_worker
from collector.reasoning.own_traces import OwnTraces, make_provider
from collector.reasoning.worker import Worker
from collector.store.database import Database
from collector.telemetry import Telemetry
from tests.fake_provider import Act, FakeProvider, half
from tests.integration.reasoning import queue
from tests.integration.reasoning.queue import AT_ONCE, arrive, job, statuses, texts
from tests.integration.reasoning.test_worker import is_quiet, until
from tests.integration.store.writer_rows import batch, execution, root, rows, trace, writing


@asynccontextmanager
async def reasoning(
    database: Database, fake: FakeProvider, *, stop_within_s: float = 1.0, **settings: Any
) -> AsyncIterator[Worker]:
    given = Settings(
        reasoner="openai",
        reasoner_settle_ms=0,
        openai_base_url=fake.url,
        openai_api_key="sk-test",
        **{"reasoner_model": "gpt-5-mini"} | settings,
    )
    worker = make_worker(given, database, Telemetry())
    await worker.start()
    try:
        yield worker
        assert worker.is_healthy
    finally:
        await worker.stop(grace_s=stop_within_s)


async def test_an_execution_is_explained_by_one_call(database: Database, fake: FakeProvider) -> None:
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake):
        key = await arrive(writer, steps=3)
        await until(lambda: is_quiet(database))
    assert fake.asked == [["s1", "s2", "s3", "s4", "execution"]]
    found = await texts(database, key)
    assert found[EXECUTION_SPAN] == "All in all."
    assert "Told of “root”." in found.values()
    (sums,) = await rows(database, SUMS)
    assert (sums["tokens_input"], sums["tokens_output"]) == (100, 20)
    assert sums["cost_usd"] == pytest.approx(
        (await rows(database, "SELECT cost_usd FROM reasoning_spend"))[0]["cost_usd"]
    )
    assert sums["cost_usd"] > 0


SUMS = """
SELECT sum(tokens_input) AS tokens_input, sum(tokens_output) AS tokens_output, sum(cost_usd) AS cost_usd FROM reasonings
"""


async def test_executions_settle_while_the_provider_is_slow(database: Database, fake: FakeProvider) -> None:
    fake.open.clear()
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, reasoner_concurrency=1):
        keys = [await arrive(writer) for _ in range(5)]

        async def all_settled() -> bool:
            return all([(await execution(database, key.trace_id))["settled"] for key in keys])

        await until(all_settled)
        assert all([await texts(database, key) == {} for key in keys])
        fake.open.set()
        await until(lambda: is_quiet(database))
    assert all([len(await texts(database, key)) == 4 for key in keys])


async def test_missing_parts_are_asked_for_again_alone(database: Database, fake: FakeProvider) -> None:
    fake.script.append(Act(text=half))
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake):
        key = await arrive(writer, steps=3)
        await until(lambda: is_quiet(database))
    assert fake.asked == [["s1", "s2", "s3", "s4", "execution"], ["s3", "s4", "execution"]]
    assert len(await texts(database, key)) == 5


@pytest.mark.parametrize(
    "nonsense", ["", "I can't do JSON", '{"steps": [{"id": "s9", "text": "?"}]}', "[1]", '{"steps": 3']
)
async def test_nonsense_is_tried_again_and_then_fails_with_the_reason(
    database: Database, fake: FakeProvider, nonsense: str
) -> None:
    fake.otherwise = Act(text=lambda _: nonsense)
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, reasoner_max_attempts=1):
        key = await arrive(writer)
        await until(lambda: is_quiet(database))
    assert await statuses(database, key) == ["failed"] * 4
    (found,) = await rows(database, "SELECT DISTINCT error FROM reasoning_ledger")
    assert found["error"] == "the model's answer left this out, or it could not be read"


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (Act(status=500), "the model's endpoint failed: 500"),
        (
            Act(status=502, error={"message": "secret", "code": "bad_gateway"}),
            "the model's endpoint failed: 502 (bad_gateway)",
        ),
        (Act(raw=b"<html>"), "the model's endpoint answered with what is no answer"),
        (Act(hang=True), "the model did not answer within 0.2 s"),
        (
            Act(status=422, error={"message": "x", "code": "too_long"}),
            "the model's endpoint refuses the question: 422 (too_long)",
        ),
        (Act(refusal="I will not."), "the model refuses to explain this"),
        (Act(finish_reason="content_filter"), "the model refuses to explain this"),
    ],
)
async def test_faults_end_in_a_reason(database: Database, fake: FakeProvider, act: Act, reason: str) -> None:
    fake.otherwise = act
    settings = {"reasoner_max_attempts": 1} | ({"reasoner_timeout_ms": 200} if act.hang else {})
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, **settings):
        key = await arrive(writer, steps=1)
        await until(lambda: is_quiet(database))
    assert await statuses(database, key) == ["failed"] * 3
    assert {row["error"] for row in await rows(database, "SELECT error FROM reasoning_ledger")} == {reason}


async def test_a_fault_that_passes_is_tried_again_and_paid_once(database: Database, fake: FakeProvider) -> None:
    fake.script.append(Act(status=500))
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake) as worker:
        key = await arrive(writer)
        await asyncio.wait_for(fake.arrived.wait(), 5)

        async def has_failed() -> bool:
            return (await job(database, key))["status"] == "pending" and bool((await job(database, key))["errors"])

        await until(has_failed)
        gate = await job(database, key)
        assert 0.9 < gate["due_in_s"] <= 2
        await queue.pass_time(database, key, seconds=5)
        worker.wake()
        await until(lambda: is_quiet(database))
    assert len(fake.calls) == 2
    (attempts,) = await rows(database, "SELECT DISTINCT attempts FROM reasonings")
    assert attempts["attempts"] == 2


@pytest.mark.parametrize("delay", [{"retry-after": "30"}, {"retry-after-ms": "30000"}])
async def test_one_429_closes_the_provider_for_all(
    database: Database, fake: FakeProvider, delay: dict[str, str]
) -> None:
    fake.script.append(Act(status=429, headers=delay))
    async with writing(database, AT_ONCE) as writer:
        keys = [await arrive(writer) for _ in range(20)]
    async with reasoning(database, fake, reasoner_concurrency=1), reasoning(database, fake, reasoner_concurrency=1):
        await until(lambda: has_snoozed(database))
        await until(lambda: all_settled(database, keys))
    assert len(fake.calls) == 1
    (state,) = await rows(database, "SELECT extract(epoch FROM closed_until - now())::float AS s FROM provider_states")
    assert 20 < state["s"] <= 30
    snoozed = await rows(database, "SELECT attempts, snoozes FROM reasoning_jobs WHERE snoozes > 0")
    assert {(row["attempts"], row["snoozes"]) for row in snoozed} == {(0, 1)}
    (reason,) = await rows(database, "SELECT DISTINCT error FROM reasoning_ledger WHERE error IS NOT NULL")
    assert reason["error"] == "the model's endpoint limits us: 429"


async def has_snoozed(database: Database) -> bool:
    return bool(await rows(database, "SELECT 1 FROM reasoning_jobs WHERE snoozes > 0"))


async def all_settled(database: Database, keys: list[ExecutionKey]) -> bool:
    found = await rows(database, "SELECT 1 FROM executions WHERE settled")
    return len(found) == len(keys)


async def test_a_refused_key_and_a_dead_endpoint_cost_no_attempt(database: Database, fake: FakeProvider) -> None:
    fake.otherwise = Act(status=401, error={"message": "bad key sk-test", "code": "invalid_api_key"})
    with capture_logs() as lines:
        async with writing(database, AT_ONCE) as writer, reasoning(database, fake):
            await arrive(writer)
            await until(lambda: has_snoozed(database))
    (found,) = await rows(database, "SELECT DISTINCT error, attempts FROM reasoning_ledger")
    assert found["error"] == "the model's endpoint refuses the key: 401 (invalid_api_key)"
    assert found["attempts"] == 0
    assert [line["message"] for line in lines if line["event"] == "provider_closed"] == [found["error"]]


async def test_a_form_that_is_not_known_is_not_asked_for_again(database: Database, fake: FakeProvider) -> None:
    fake.refused_forms = ("json_schema", "json_object")
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, reasoner_concurrency=1):
        keys = [await arrive(writer) for _ in range(3)]
        await until(lambda: is_quiet(database))
    assert all([len(await texts(database, key)) == 4 for key in keys])
    forms = [call.get("response_format", {}).get("type") for call in fake.calls]
    assert forms == ["json_schema", "json_object", None, None, None]


async def test_equal_work_is_paid_once(database: Database, fake: FakeProvider) -> None:
    same = {"input": '"what was asked"'}
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, reasoner_concurrency=1):
        first, second = [await arrive(writer, steps=1, **same) for _ in range(2)]
        await until(lambda: is_quiet(database))
        assert fake.asked[0] == ["s1", "s2", "execution"]
        assert len(fake.calls) == 1 or fake.asked[1] == ["execution"], "its steps were explained before"
        calls = len(fake.calls)
        async with database.connection() as conn, conn.transaction():
            await queue.ask_again(conn, second)
        await until(lambda: is_quiet(database))
        assert len(fake.calls) == calls, "asked again: nothing new to pay for"
        async with database.connection() as conn, conn.transaction():
            await queue.ask_again(conn, second, forced=True)
        await until(lambda: is_quiet(database))
    assert len(fake.calls) == calls + 1
    assert await texts(database, first)


async def test_over_budget_waits_for_tomorrow(database: Database, fake: FakeProvider) -> None:
    settings = {"reasoner_budget_tokens_per_day": 100, "reasoner_concurrency": 1}
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, **settings):
        first = await arrive(writer)
        await until(lambda: is_quiet(database))
        second = await arrive(writer)
        await until(lambda: has_snoozed(database))
    assert await statuses(database, first) == ["completed"] * 4
    assert sorted(await statuses(database, second)) == ["completed"] + ["pending"] * 3, "its root was paid for before"
    gate = await job(database, second)
    assert "the budget of 100 tokens a day is spent" in gate["errors"]
    assert len(fake.calls) == 1


async def test_over_budget_may_fall_back_to_rules(database: Database, fake: FakeProvider) -> None:
    settings = {"reasoner_budget_usd_per_day": 0.0, "reasoner_over_budget": "rules"}
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, **settings):
        key = await arrive(writer)
        await until(lambda: is_quiet(database))
    assert fake.calls == []
    found = await rows(database, "SELECT DISTINCT reasoner, model, cost_usd FROM reasonings")
    assert [tuple(row.values()) for row in found] == [("rules", None, None)]
    assert len(await texts(database, key)) == 4


async def test_plain_traffic_that_went_well_is_not_paid_for_until_somebody_asks(
    database: Database, fake: FakeProvider
) -> None:
    trace_id, failed = trace(), trace()
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake):
        await writer.write(batch([root(trace_id, kind="http"), root(failed, kind="http", status="error")]))
        await until(lambda: is_quiet(database))
        (asked,) = fake.asked
        assert asked == ["s1", "execution"]
        found = await rows(database, "SELECT DISTINCT reasoner FROM reasonings WHERE trace_id = $1", trace_id)
        assert [row["reasoner"] for row in found] == ["rules"]
        async with database.connection() as conn, conn.transaction():
            await queue.ask_again(conn, ExecutionKey(1, trace_id))
        await until(lambda: is_quiet(database))
    assert len(fake.calls) == 2


async def test_cancelling_reaches_the_running_call(database: Database, fake: FakeProvider) -> None:
    fake.open.clear()
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, reasoner_lease_ms=1_000):
        key = await arrive(writer)
        await asyncio.wait_for(fake.arrived.wait(), 5)
        async with database.connection() as conn, conn.transaction():
            await queue.cancel(conn, key)
        await until(lambda: nobody_calls(fake))
        await until(lambda: is_quiet(database))
        fake.open.set()
    assert await statuses(database, key) == ["cancelled"] * 4
    assert await texts(database, key) == {}


async def nobody_calls(fake: FakeProvider) -> bool:
    return fake.at_once == 0


async def test_a_call_longer_than_five_leases_is_made_once(database: Database, fake: FakeProvider) -> None:
    fake.open.clear()
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, reasoner_lease_ms=800):
        key = await arrive(writer)
        await asyncio.wait_for(fake.arrived.wait(), 5)
        token = (await job(database, key))["lease_token"]
        asyncio.get_running_loop().call_later(4.2, fake.open.set)
        await until(lambda: is_quiet(database))
    assert len(fake.calls) == 1
    assert token is not None
    assert len(await texts(database, key)) == 4


async def test_four_workers_and_three_places_never_make_a_fourth_call(database: Database, fake: FakeProvider) -> None:
    fake.open.clear()
    async with writing(database, AT_ONCE) as writer:
        for _ in range(40):
            await arrive(writer, steps=1)
    three = {"reasoner_concurrency": 3}
    async with (
        reasoning(database, fake, **three),
        reasoning(database, fake, **three),
        reasoning(database, fake, **three),
        reasoning(database, fake, **three),
    ):
        await until(lambda: are_asked(fake, 3))
        fake.open.set()
        await until(lambda: is_quiet(database), within_s=30)
    assert fake.most_at_once == 3
    assert len(fake.calls) == 40


async def are_asked(fake: FakeProvider, count: int) -> bool:
    return fake.at_once >= count


async def test_own_traces_exist_hold_no_content_and_are_never_explained(database: Database, fake: FakeProvider) -> None:
    exported = InMemorySpanExporter()
    held_for_long = BatchSpanProcessor(exported, schedule_delay_millis=3_600_000)
    traces = OwnTraces(make_provider(held_for_long))
    async with writing(database, AT_ONCE) as writer:
        async with reasoning(database, fake) as worker:
            worker._engine.reasoner._means.traces = traces  # type: ignore[union-attr]
            key = await arrive(writer)
            await until(lambda: is_quiet(database))
        (span,) = exported.get_finished_spans()
        sent = encode_spans([span])
        assert key.trace_id.hex().encode() in sent.SerializeToString()
        assert b"All in all" not in sent.SerializeToString()
        await writer.write(map_traces(sent, lambda _: 1))
    own = span.context.trace_id.to_bytes(16, "big")
    assert (await execution(database, own))["name"] == "chat gpt-5-mini"
    assert await rows(database, "SELECT 1 FROM reasoning_jobs WHERE trace_id = $1", own) == []

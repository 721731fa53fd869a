"""Figures by step name and over time, computed from known durations."""

from typing import Any

import pytest

from collector.mapping.assemble import assemble
from collector.mapping.prices import PriceTable
from collector.mapping.rates import Rates
from collector.model import ExecutionKey
from collector.store.database import Database
from collector.store.executions import load_steps
from collector.store.folding import Folding
from collector.store.settling import Settled
from collector.store.settling import settle as write_down
from collector.telemetry import Telemetry

from .conftest import Client, Send
from .spans import SECOND, START, span, trace_id

RANGE = {"since": "2026-09-21T14:00:00Z", "until": "2026-09-21T15:00:00Z"}
CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "small-1",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10,
}


async def test_steps_by_name(client: Client, send: Send) -> None:
    for number in range(1, 5):
        await send(
            span(number, 1, "root", start=START, duration=number * SECOND),
            span(number, 2, "ask", start=START, status="error" if number == 4 else "ok", attributes=CALL),
        )
    found = (await client.get("/api/v1/stats/steps", params=RANGE)).json()
    assert [item["name"] for item in found["items"]] == ["ask", "root"]
    ask, root = found["items"]
    assert (ask["kind"], ask["count"], ask["errors"]) == ("llm", 4, 1)
    assert (ask["tokens"]["input"], ask["tokens"]["output"]) == (400, 40)
    assert (root["p50_ms"], root["tokens"]["input"], root["cost_usd"]) == (2500.0, None, None)
    assert (root["p95_ms"], root["p99_ms"]) == (pytest.approx(3850), pytest.approx(3970))
    only = (await client.get("/api/v1/stats/steps", params={**RANGE, "kind": "llm", "limit": 1})).json()
    assert [item["name"] for item in only["items"]] == ["ask"]
    before = {"since": "2026-09-20", "until": "2026-09-21"}
    assert (await client.get("/api/v1/stats/steps", params=before)).json()["items"] == []


async def test_the_timeline_has_every_bucket_also_the_empty_ones(client: Client, send: Send) -> None:
    await send(span(1, 1, start=START), span(2, 1, start=START + 60 * SECOND, status="error"))
    await send(span(3, 1, start=START + 61 * SECOND, duration=3 * SECOND))
    found = (await client.get("/api/v1/stats/timeline", params=RANGE)).json()
    assert (found["bucket_s"], len(found["items"])) == (60, 60)
    filled = {item["started_at"]: item for item in found["items"] if item["executions"]}
    assert list(filled) == ["2026-09-21T14:13:00Z", "2026-09-21T14:14:00Z"]
    second = filled["2026-09-21T14:14:00Z"]
    assert (second["executions"], second["errors"], second["p50_ms"]) == (2, 1, 2000.0)
    assert found["items"][0]["p50_ms"] is None


async def test_impossible_ranges_are_refused(client: Client) -> None:
    paths = [
        "steps?since=2026-09-21&until=2026-09-20",
        "timeline?since=30d&bucket_s=1",
        "timeline?bucket_s=0",
        "steps?limit=501",
        "timeline?kind=llm",
    ]
    for path in paths:
        answer = await client.get(f"/api/v1/stats/{path}")
        assert answer.status_code == 400, path


async def test_without_a_range_the_last_day_is_shown(client: Client) -> None:
    found = (await client.get("/api/v1/stats/timeline")).json()
    assert found["bucket_s"] == 1800
    assert len(found["items"]) in (48, 49)


async def test_long_ranges_come_from_the_rollups(client: Client, send: Send, database: Database) -> None:
    call: dict[str, Any] = {"start": START, "attributes": CALL}
    calls = [span(1, number, "ask", duration=number * SECOND, **call) for number in range(1, 4)]
    calls.append(span(1, 4, "ask", duration=4 * SECOND, status="error", **call))
    await send(*calls)
    await settle(database, 1)
    week = {"since": "2026-09-15T12:34:56Z", "until": "2026-09-22T00:00:00Z", "kind": "llm"}
    found = (await client.get("/api/v1/stats/steps", params=week)).json()
    (ask,) = found["items"]
    assert (found["is_exact"], ask["name"], ask["count"], ask["errors"]) == (False, "ask", 4, 1)
    assert ask["tokens"]["input"] == 400
    assert ask["p50_ms"] == pytest.approx(2000, rel=0.05)
    assert ask["p99_ms"] == pytest.approx(4000, rel=0.05)
    await client.delete(f"/api/v1/executions/{trace_id(1)}")
    await Folding(database, Telemetry()).fold_all()
    assert (await client.get("/api/v1/stats/steps", params=week)).json()["items"] == []


async def test_both_ranges_have_the_cost_of_the_price_table(client: Client, send: Send, database: Database) -> None:
    usage = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 1_000_000}
    wrapper = usage | {"gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
    await send(
        span(1, 1, "wrapper", start=START, attributes=wrapper),
        span(1, 2, "priced", start=START, attributes=wrapper),
        span(1, 3, "sent", start=START, attributes=wrapper | {"gen_ai.usage.cost": 7.0}),
        span(1, 4, "unknown", start=START, attributes=usage | {"gen_ai.request.model": "house"}),
    )
    await settle(database, 1, PriceTable())
    await settle(database, 1, PriceTable())
    week = {"since": "2026-09-15", "until": "2026-09-22"}
    expected = {"wrapper": None, "priced": 2.5, "sent": 7.0, "unknown": None}
    assert [await costs(client, RANGE), await costs(client, week)] == [expected, expected]
    page = (await client.get(f"/api/v1/executions/{trace_id(1)}", params={"steps_limit": 2})).json()
    assert [(step["cost_usd"], step["cost_source"]) for step in page["steps"]] == [(None, None), (2.5, "prices")]
    await settle(database, 1, PriceTable({"openai/gpt-4o": Rates(input=1)}))
    assert await costs(client, RANGE) == expected | {"priced": 1.0}


async def costs(client: Client, params: dict[str, str]) -> dict[str, float | None]:
    found = (await client.get("/api/v1/stats/steps", params=params)).json()["items"]
    return {item["name"]: item["cost_usd"] for item in found}


async def settle(database: Database, number: int, prices: PriceTable | None = None) -> None:
    """What the worker does when an execution has been quiet."""
    key = ExecutionKey(1, bytes.fromhex(trace_id(number)))
    async with database.begin() as conn:
        steps, records, row = await load_steps(conn, key)
        assert row is not None
    steps, facts = assemble(steps, records, prices)
    async with database.connection() as raw, raw.transaction():
        await write_down(raw, [Settled(key, row.revision, facts, steps)])
    await Folding(database, Telemetry()).fold_all()

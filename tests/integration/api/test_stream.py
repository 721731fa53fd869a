"""Server-sent events: what is committed is told, once, in this process and in others."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio
from litestar import Litestar

from api.hub import MOST_WAITING, MOST_WATCHERS, Hub
from collector.http_server import bind, serving
from collector.model import ExecutionKey
from collector.store.database import Database
from collector.store.relay import Relay
from collector.telemetry import Telemetry

from .conftest import Send
from .spans import span, span_id, trace_id

STREAM = "/api/v1/stream"
LIMIT_S = 10


@pytest_asyncio.fixture
async def url(app: Litestar, hub: Hub) -> AsyncIterator[str]:
    """A real server: only that one sends while it still answers."""
    listener: socket.socket = bind("127.0.0.1", 0)
    async with serving(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        hub.close()
    listener.close()


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_executions_and_steps_are_told_once_each(url: str, send: Send) -> None:
    async with asyncio.timeout(LIMIT_S), httpx.AsyncClient() as client, client.stream("GET", url + STREAM) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer)
        await send(span(1, 1, "root"), span(1, 2, "child"))
        first = [await anext(told) for _ in range(3)]
        assert [name for name, _ in first] == ["execution", "step", "step"]
        assert first[0][1]["trace_id"] == trace_id(1)
        assert [data["step"]["name"] for _, data in first[1:]] == ["root", "child"]
        await send(span(1, 3, "late"))
        later = [await anext(told) for _ in range(2)]
        assert [name for name, _ in later] == ["execution", "step"]
        assert (later[0][1]["step_count"], later[1][1]["step"]["span_id"]) == (3, span_id(3))


async def test_reasoning_is_told_when_the_worker_says_so(url: str, send: Send, hub: Hub, database: Database) -> None:
    async with asyncio.timeout(LIMIT_S), httpx.AsyncClient() as client, client.stream("GET", url + STREAM) as answer:
        told = events(answer)
        await send(span(1, 1))
        assert [(await anext(told))[0] for _ in range(2)] == ["execution", "step"]
        async with database.connection() as conn:
            await conn.execute(
                "INSERT INTO reasonings (project_id, trace_id, span_id, text, reasoner, revision, attempts) "
                "VALUES (1, $1, '', 'All well.', 'rules', 1, 1)",
                bytes.fromhex(trace_id(1)),
            )
        hub.tell([ExecutionKey(1, bytes.fromhex(trace_id(1)))])
        assert (await anext(told))[0] == "execution"
        name, data = await anext(told)
        assert (name, data["span_id"], data["reasoning"]["text"]) == ("reasoning", None, "All well.")


async def test_a_stream_tells_its_own_project_only(url: str, send: Send) -> None:
    async with asyncio.timeout(LIMIT_S), httpx.AsyncClient() as client:
        await send(span(9, 1), **{"xray.project": "films"})
        async with client.stream("GET", f"{url}{STREAM}?project=films") as answer:
            await send(span(1, 1))
            await send(span(2, 1), **{"xray.project": "films"})
            name, data = await anext(events(answer))
            assert (name, data["trace_id"], data["project"]) == ("execution", trace_id(2), "films")


async def test_streams_end_when_the_hub_closes(url: str, hub: Hub) -> None:
    async with asyncio.timeout(LIMIT_S), httpx.AsyncClient() as client, client.stream("GET", url + STREAM) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == ": listening"
        hub.close()
        assert [line async for line in lines if line.startswith("data")] == []


async def test_changes_reach_the_streams_of_other_processes(database: Database) -> None:
    here, there = (Relay(database, Telemetry().errors) for _ in range(2))
    told: asyncio.Queue[list[ExecutionKey]] = asyncio.Queue()
    own: list[ExecutionKey] = []
    here.start(own.extend)
    there.start(lambda keys: told.put_nowait(list(keys)))
    keys = [ExecutionKey(1, number.to_bytes(16, "big")) for number in range(450)]
    try:
        async with asyncio.timeout(LIMIT_S):
            found: list[ExecutionKey] = []
            while len(found) < len(keys):
                here.announce(keys)  # until the other one listens
                found = await _within(told, found)
        assert set(found) == set(keys)
        assert own == []
    finally:
        await here.stop()
        await there.stop()


async def _within(told: asyncio.Queue[list[ExecutionKey]], found: list[ExecutionKey]) -> list[ExecutionKey]:
    try:
        async with asyncio.timeout(0.5):
            return list(dict.fromkeys([*found, *await told.get()]))
    except TimeoutError:
        return found


async def test_a_slow_watcher_keeps_a_bounded_number_of_keys() -> None:
    hub = Hub()
    with hub.watching() as watcher:
        hub.tell(ExecutionKey(1, number.to_bytes(16, "big")) for number in range(MOST_WAITING + 5))
        changed = await watcher.changes(1)
        assert (len(changed), watcher.lost) == (MOST_WAITING, 5)
        assert changed[-1].trace_id == (MOST_WAITING + 4).to_bytes(16, "big")


async def test_there_is_a_limit_to_open_streams(url: str, hub: Hub) -> None:
    watching = [hub.watching() for _ in range(MOST_WATCHERS)]
    for each in watching:
        each.__enter__()
    async with httpx.AsyncClient() as client:
        answer = await client.get(url + STREAM)
    assert answer.status_code == 503
    for each in watching:
        each.__exit__(None, None, None)

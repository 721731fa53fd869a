"""Roles as processes of their own on one external Postgres: each does its part, and none does another's twice."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.acceptance.client import Project, events, step, tree
from tests.fake_provider import FakeProvider
from tests.processes import XRay, wait_for

EXECUTIONS = 40
EXPLAINED = 3
"""Of each execution: itself, its agent and its tool."""


def role(folder: Path, database_url: str, name: str, **environ: str) -> XRay:
    """A process of the role that is the name's first word."""
    shared = {"XRAY_DATABASE_URL": database_url, "XRAY_REASONER_SETTLE_MS": "100"}
    return XRay(folder / name, shared | environ, ("--roles", name.split()[0]))


@contextmanager
def started(*processes: XRay) -> Iterator[None]:
    """All at once, as in a deployment."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        for xray in processes:
            stack.callback(end, xray)
        list(pool.map(XRay.start, processes))
        yield


def end(xray: XRay) -> None:
    if xray.process is not None and xray.process.poll() is None:
        assert xray.stop() == 0


def an_execution(number: int) -> Any:
    own = {"xray.execution.id": f"run-{number}", "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}
    call = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": f"tool-{number}-"}
    return tree(step(f"agent-{number}-", attributes=own), step(f"tool-{number}-", attributes=call))


def send_all(xray: XRay) -> None:
    project = Project(xray, "default")
    for number in range(EXECUTIONS):
        project.send(*an_execution(number))
    project.close()


def is_explained(serve: XRay) -> bool:
    stats = serve.get("/reasoning/stats")
    return stats["completed"] >= EXECUTIONS * EXPLAINED and stats["pending"] + stats["processing"] == 0


async def attempts(database_url: str) -> dict[int, int]:
    """Explanations by the number of attempts that they took."""
    connection = await asyncpg.connect(database_url)
    try:
        return dict(await connection.fetch("SELECT attempts::int, count(*) FROM reasonings GROUP BY 1"))
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as fake:
        yield fake


def asked_about(provider: FakeProvider) -> Counter[str]:
    """How often the model was asked for each execution."""
    texts = (call["messages"][-1]["content"] for call in provider.calls)
    return Counter(re.findall(r"agent-(\d+)-", text)[0] for text in texts)


class Pair:
    """Two reasoning processes that both are in a call of the model, which does not answer before it is let."""

    def __init__(self, folder: Path, database_url: str, provider: FakeProvider) -> None:
        model = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "none", "XRAY_REASONER_LEASE_MS": "3000"}
        self.receive, self.serve = (role(folder, database_url, name, **model) for name in ("receive", "serve"))
        # How many calls there may be is counted over all processes: the first may make one, the second another.
        self.first = role(folder, database_url, "reason 1", **model, XRAY_REASONER_CONCURRENCY="1")
        self.second = role(folder, database_url, "reason 2", **model, XRAY_REASONER_CONCURRENCY="2")
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        provider.open.clear()

    @contextmanager
    def both_asking(self) -> Iterator[None]:
        with started(self.receive, self.serve, self.first):
            send_all(self.receive)
            wait_for("the first to ask", lambda: self._provider.at_once == 1)
            # Else a kill might also hit a batch that is being settled, whose executions would all be taken again.
            settled = f"/executions?status=ok&limit={EXECUTIONS}"
            wait_for("all to be settled", lambda: len(self.serve.get(settled)["items"]) == EXECUTIONS)
            with started(self.second):
                wait_for("the second to ask", lambda: self._provider.at_once == 2)
                yield

    def finish(self) -> None:
        self._loop.call_soon_threadsafe(self._provider.open.set)
        wait_for("all explanations", lambda: is_explained(self.serve), 60)


@pytest.mark.timeout(120)
async def test_two_reasoning_processes_explain_every_step_once(
    tcp_database_url: str, tmp_path: Path, provider: FakeProvider
) -> None:
    """One of them is killed in the middle of a call: only what it was explaining is begun again."""
    pair = Pair(tmp_path, tcp_database_url, provider)

    def scenario() -> None:
        with pair.both_asking():
            pair.first.kill()
            wait_for("its call to end", lambda: provider.at_once == 1)
            pair.first.start()
            pair.finish()

    await asyncio.to_thread(scenario)
    asked = asked_about(provider)
    assert set(asked) == {str(number) for number in range(EXECUTIONS)}
    assert sorted(asked.values()) == [1] * (EXECUTIONS - 1) + [2]
    assert await attempts(tcp_database_url) == {1: (EXECUTIONS - 1) * EXPLAINED, 2: EXPLAINED}


@pytest.mark.timeout(60)
def test_each_role_opens_its_own_doors_and_streams_hear_of_all(empty_database_url: str, tmp_path: Path) -> None:
    """On an empty database: the first of them makes the schema, the others wait for it."""
    names = ("receive", "reason", "serve")
    parts = {name: role(tmp_path, empty_database_url, name, XRAY_REASONER="rules") for name in names}
    with started(*parts.values()):
        for name, xray in parts.items():
            assert httpx.get(f"{xray.url}/healthz").status_code == 200
            assert httpx.get(f"{xray.url}/metrics").status_code == 200
            assert httpx.get(f"{xray.url}/api/v1/executions").status_code == (200 if name == "serve" else 404)
            door = httpx.post(f"{xray.url}/v1/traces", json={})
            assert door.status_code == (200 if name == "receive" else 404)
            assert (xray.grpc_port in (0, None)) == (name != "receive")
        with httpx.stream("GET", f"{parts['serve'].url}/api/v1/stream", timeout=20) as answer:
            sender = Project(parts["receive"], "default")
            trace_id = sender.send(*an_execution(1))
            sender.close()
            told = set()
            for name, data in events(answer):
                assert data["trace_id"] == trace_id
                told.add(name)
                if told == {"execution", "step", "reasoning"}:
                    break
        assert parts["serve"].get("/executions/run-1")["reasoning"]["status"] in ("pending", "processing", "completed")

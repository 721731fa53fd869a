"""What was acknowledged is there after whatever dies, once; and what was being explained is explained once."""

import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
import psutil
import pytest

from collector.store.embedded import EmbeddedPostgres
from tests.acceptance.sender import SPANS, Client, one_trace
from tests.processes import XRay, running, wait_for

QUIET = {"XRAY_REASONER": "rules", "XRAY_REASONER_SETTLE_MS": "50"}
CLIENTS = 8


class Place(NamedTuple):
    """A running X-Ray and a Postgres of its own, or the embedded one."""

    xray: XRay
    postgres: EmbeddedPostgres | None = None
    url: str = ""


Fault = Callable[[Place], Awaitable[None]]


@asynccontextmanager
async def beside_postgres(folder: Path) -> AsyncIterator[Place]:
    postgres = EmbeddedPostgres(folder / "postgres")
    try:
        url = await postgres.start()
        with running(folder / "xray", **QUIET, XRAY_DATABASE_URL=url) as xray:
            yield Place(xray, postgres, url)
    finally:
        await postgres.stop()


@asynccontextmanager
async def alone(folder: Path) -> AsyncIterator[Place]:
    with running(folder, **QUIET) as xray:
        yield Place(xray)


async def kill_receiver(place: Place) -> None:
    place.xray.kill()
    place.xray.start()


async def kill_tree(place: Place) -> None:
    """Every process at once, Postgres with all of its own, too: what a power cut leaves."""
    assert place.xray.process is not None
    process = psutil.Process(place.xray.process.pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    place.xray.process.wait()
    psutil.wait_procs(family)
    place.xray.start()


async def terminate(place: Place) -> None:
    assert place.xray.stop() == 0
    place.xray.start()


async def crash_postgres(place: Place) -> None:
    """No checkpoint, and its processes die where they stand."""
    assert place.postgres is not None
    assert place.postgres.pid is not None
    os.kill(place.postgres.pid, signal.SIGQUIT)
    await place.postgres.stop()
    await place.postgres.start()


async def kill_backend(place: Place) -> None:
    """One of X-Ray's connections; the server then ends all of them and recovers."""
    assert place.postgres is not None
    assert place.postgres.pid is not None
    server = psutil.Process(place.postgres.pid)
    ours = wait_for("a backend", lambda: {p: title for p in server.children() if "[local]" in (title := _title(p))})
    busy = [process for process, title in ours.items() if "idle" not in title]
    with suppress(psutil.NoSuchProcess):
        random.choice(busy or list(ours)).kill()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


FAULTS = [
    pytest.param(beside_postgres, kill_receiver, id="receiver-killed"),
    pytest.param(alone, kill_tree, id="tree-killed"),
    pytest.param(alone, terminate, id="terminated"),
    pytest.param(beside_postgres, crash_postgres, id="postgres-crashed"),
    pytest.param(beside_postgres, kill_backend, id="backend-killed"),
]


def is_ready(xray: XRay) -> bool:
    return httpx.get(f"{xray.url}/readyz", timeout=10).status_code == 200


def spool_bytes(xray: XRay) -> float:
    lines = httpx.get(f"{xray.url}/metrics", timeout=10).text.splitlines()
    return float(next(line for line in lines if line.startswith("xray_spool_bytes ")).split()[1])


async def under_load(place: Place, fault: Fault, after_s: float) -> list[str]:
    """What eight clients were acknowledged; the fault strikes `after_s` seconds after the first of it."""
    clients = [Client(place.xray.target).start() for _ in range(CLIENTS)]
    assert clients[0].first.wait(20)
    clients[0]._stop.wait(after_s)
    await fault(place)
    for client in clients:
        client._stop.set()
    for client in clients:
        client.stop()
    wait_for("X-Ray to be ready again", lambda: is_ready(place.xray), 30)
    wait_for("the spool to be empty", lambda: spool_bytes(place.xray) == 0, 60)
    return [trace_id for client in clients for trace_id in client.acknowledged]


def assert_all_there(xray: XRay, acknowledged: list[str]) -> None:
    """Every acknowledged execution is whole: all by the list, some looked at step by step."""
    stored = dict(stored_steps(xray))
    missing = {trace_id: stored.get(trace_id) for trace_id in acknowledged if stored.get(trace_id) != SPANS}
    assert not missing
    assert set(stored.values()) == {SPANS}  # what was not acknowledged is whole or not there
    for trace_id in random.Random(1).sample(acknowledged, min(20, len(acknowledged))):
        steps = xray.get(f"/executions/{trace_id}")["steps"]
        assert len({step["span_id"] for step in steps}) == len(steps) == SPANS


def stored_steps(xray: XRay) -> Iterator[tuple[str, int]]:
    """Trace id and number of steps of every execution, page by page."""
    cursor: dict[str, str] = {}
    while True:
        page = xray.get("/executions", limit=500, **cursor)
        yield from ((item["trace_id"], item["step_count"]) for item in page["items"])
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


async def check_rounds_of_faults(place: Place, fault: Fault, rounds: int) -> None:
    chance = random.Random(7)
    acknowledged: list[str] = []
    for _ in range(rounds):
        latest = await under_load(place, fault, chance.uniform(0.0, 0.6))
        assert latest
        acknowledged += latest
    assert_all_there(place.xray, acknowledged)
    print(f"{rounds} rounds: {len(acknowledged)} traces, {len(acknowledged) * SPANS} spans acknowledged, none lost")
    if place.url:
        await assert_stored_once(place.url)


async def assert_stored_once(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        twice = "SELECT count(*) FROM (SELECT FROM steps GROUP BY trace_id, span_id HAVING count(*) > 1) AS twice"
        assert await connection.fetchval(twice) == 0
    finally:
        await connection.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("where", "fault"), FAULTS)
async def test_everything_acknowledged_survives(
    tmp_path: Path, where: Callable[[Path], AbstractAsyncContextManager[Place]], fault: Fault
) -> None:
    async with where(tmp_path) as place:
        await check_rounds_of_faults(place, fault, 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("where", "fault"), FAULTS)
async def test_everything_acknowledged_survives_fifty_times(
    tmp_path: Path, where: Callable[[Path], AbstractAsyncContextManager[Place]], fault: Fault
) -> None:
    async with where(tmp_path) as place:
        await check_rounds_of_faults(place, fault, 50)


@pytest.mark.timeout(180)
def test_reasoning_goes_on_after_a_kill_and_ends_once(tmp_path: Path) -> None:
    xray = XRay(tmp_path, {**QUIET, "XRAY_REASONER_LEASE_MS": "3000"}).start()
    clients = [Client(xray.target).start() for _ in range(4)]
    assert clients[0].first.wait(20)
    wait_for("the first explanation", lambda: xray.get("/reasoning/stats")["completed"])
    xray.kill()
    for client in clients:
        client.stop()
    acknowledged = [trace_id for client in clients for trace_id in client.acknowledged]
    xray.start()
    trace_id, _ = one_trace()
    stats = wait_for(
        "every job to end",
        lambda: (found := xray.get("/reasoning/stats"))["pending"] + found["processing"] == 0 and found,
        60,
    )
    assert stats["failed"] == 0
    for trace_id in random.Random(1).sample(acknowledged, min(50, len(acknowledged))):
        execution = xray.get(f"/executions/{trace_id}")
        assert execution["reasoning"]["status"] == "completed"
        assert not execution["reasoning"]["stale"]
        assert {step["reasoning"]["status"] for step in execution["steps"]} == {"completed"}
    xray.stop()

"""Postgres goes away under load: what is acknowledged meanwhile is on disk, and in Postgres when it is back."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from collector.store.embedded import EmbeddedPostgres
from tests.acceptance.sender import Client
from tests.acceptance.test_killed import QUIET, assert_all_there, is_ready, spool_bytes
from tests.processes import XRay, running, wait_for

AWAY = 30
OUTAGE_S = float(os.environ.get("XRAY_OUTAGE_SECONDS", "60"))
WARM_S = 20


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    yield server
    await server.stop()


@pytest.fixture
async def xray(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[XRay]:
    url = await postgres.start()
    with running(tmp_path / "xray", **QUIET, XRAY_DATABASE_URL=url) as started:
        yield started


def send_while_away(xray: XRay, clients: list[Client]) -> None:
    """Until the clients got answers that only the spool can have given."""
    wait_for("readiness to say so", lambda: not is_ready(xray))
    before = sum(len(client.acknowledged) for client in clients)
    wait_for(
        "answers while Postgres is away",
        lambda: sum(len(client.acknowledged) for client in clients) > before + AWAY,
    )
    assert spool_bytes(xray) > 0


def acknowledged_by(clients: list[Client]) -> list[str]:
    for client in clients:
        client.stop()
    return [trace_id for client in clients for trace_id in client.acknowledged]


@pytest.mark.timeout(180)
async def test_an_outage_loses_nothing(postgres: EmbeddedPostgres, xray: XRay) -> None:
    clients = [Client(xray.target).start() for _ in range(4)]
    assert clients[0].first.wait(20)
    await postgres.stop()
    send_while_away(xray, clients)
    await postgres.start()
    wait_for("X-Ray to be ready again", lambda: is_ready(xray), 30)
    acknowledged = acknowledged_by(clients)
    wait_for("the spool to be empty", lambda: spool_bytes(xray) == 0, 30)
    assert_all_there(xray, acknowledged)
    assert xray.stop() == 0


@pytest.mark.timeout(180)
async def test_the_spool_survives_a_kill(postgres: EmbeddedPostgres, xray: XRay) -> None:
    clients = [Client(xray.target).start() for _ in range(4)]
    assert clients[0].first.wait(20)
    await postgres.stop()
    send_while_away(xray, clients)
    xray.kill()
    acknowledged = acknowledged_by(clients)
    await postgres.start()
    xray.start()
    wait_for("the spool to be empty", lambda: spool_bytes(xray) == 0, 30)
    assert_all_there(xray, acknowledged)
    xray.stop()


@pytest.mark.timeout(180)
async def test_a_postgres_that_hangs_loses_nothing(postgres: EmbeddedPostgres, xray: XRay) -> None:
    clients = [Client(xray.target).start() for _ in range(4)]
    assert clients[0].first.wait(20)
    assert postgres.pid is not None
    server = psutil.Process(postgres.pid)
    frozen = [server, *server.children(recursive=True)]
    for process in frozen:
        process.suspend()
    send_while_away(xray, clients)
    for process in frozen:
        process.resume()
    wait_for("X-Ray to be ready again", lambda: is_ready(xray), 5)
    wait_for("the spool to be empty", lambda: spool_bytes(xray) == 0, 30)
    assert_all_there(xray, acknowledged_by(clients))
    assert sum(client.refused for client in clients) == 0
    assert xray.stop() == 0


def error_lines(xray: XRay) -> int:
    return xray.log_file.read_text().count("[error")


def most_memory_mb(xray: XRay, seconds: float) -> float:
    """Of the receiving process, over the time given."""
    assert xray.process is not None
    process, most, end = psutil.Process(xray.process.pid), 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        most = max(most, process.memory_info().rss / (1 << 20))
        time.sleep(0.5)  # what is watched is a stretch of time, there is no event to wait for
    return most


@pytest.mark.soak
@pytest.mark.timeout(OUTAGE_S * 10 + 600)
async def test_a_minute_without_postgres_under_full_load(postgres: EmbeddedPostgres, xray: XRay) -> None:
    clients = [Client(xray.target).start() for _ in range(8)]
    before_mb = most_memory_mb(xray, WARM_S)
    acknowledged_before = sum(len(client.acknowledged) for client in clients)
    await postgres.stop()
    away_mb = most_memory_mb(xray, OUTAGE_S)
    lines = error_lines(xray)
    acknowledged_away = sum(len(client.acknowledged) for client in clients) - acknowledged_before
    spooled = spool_bytes(xray)
    await postgres.start()
    back = time.monotonic()
    wait_for("X-Ray to be ready again", lambda: is_ready(xray), 5)
    ready_s = time.monotonic() - back
    back_mb = most_memory_mb(xray, WARM_S)
    acknowledged = acknowledged_by(clients)
    wait_for("the spool to be empty", lambda: spool_bytes(xray) == 0, OUTAGE_S * 8)
    figures = {
        "traces acknowledged before, away": (acknowledged_before, acknowledged_away),
        "refused": sum(client.refused for client in clients),
        "MB spooled": round(spooled / (1 << 20)),
        "RSS MB before, away, back": (round(before_mb), round(away_mb), round(back_mb)),
        "error lines": lines,
        "s to ready, to an empty spool": (round(ready_s, 1), round(time.monotonic() - back)),
    }
    print(figures)
    assert_all_there(xray, acknowledged)
    assert max(away_mb, back_mb) < before_mb * 1.15
    assert lines <= OUTAGE_S + 2
    assert xray.stop() == 0

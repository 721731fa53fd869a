"""Postgres goes away under load: what is acknowledged meanwhile is on disk, and in Postgres when it is back."""

from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from collector.store.embedded import EmbeddedPostgres
from tests.acceptance.sender import Client
from tests.acceptance.test_killed import QUIET, assert_all_there, is_ready, spool_bytes
from tests.processes import XRay, wait_for

AWAY = 30


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    yield server
    await server.stop()


async def start(postgres: EmbeddedPostgres, tmp_path: Path) -> XRay:
    url = await postgres.start()
    return XRay(tmp_path / "xray", {**QUIET, "XRAY_DATABASE_URL": url}).start()


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
async def test_an_outage_loses_nothing(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    xray = await start(postgres, tmp_path)
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
async def test_the_spool_survives_a_kill(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    xray = await start(postgres, tmp_path)
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
async def test_a_postgres_that_hangs_loses_nothing(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    xray = await start(postgres, tmp_path)
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

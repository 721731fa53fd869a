"""What was acknowledged is there after a SIGKILL, once; and what was being explained is explained once."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.sender import SPANS, Client, one_trace
from tests.processes import XRay, wait_for

QUIET = {"XRAY_REASONER": "rules", "XRAY_REASONER_SETTLE_MS": "50"}


def kill_under_load(xray: XRay, after_s: float, number: signal.Signals = signal.SIGKILL) -> list[str]:
    """Eight clients send; the process gets the signal `after_s` seconds after the first acknowledgement."""
    clients = [Client(xray.target).start() for _ in range(8)]
    assert clients[0].first.wait(20)
    clients[0]._stop.wait(after_s)
    xray.signal(number)
    for client in clients:
        client._stop.set()
    for client in clients:
        client.stop()
    return [trace_id for client in clients for trace_id in client.acknowledged]


def assert_all_there(xray: XRay, acknowledged: list[str]) -> None:
    """Every acknowledged execution is whole: all by the list, some looked at step by step."""
    stored = dict(stored_steps(xray))
    missing = {trace_id: stored.get(trace_id) for trace_id in acknowledged if stored.get(trace_id) != SPANS}
    assert not missing
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


def rounds_of_kills(data_dir: Path, rounds: int, number: signal.Signals) -> None:
    chance = random.Random(7)
    xray = XRay(data_dir, QUIET)
    total = 0
    for _ in range(rounds):
        xray.start()
        acknowledged = kill_under_load(xray, chance.uniform(0.0, 0.6), number)
        assert acknowledged
        total += len(acknowledged)
        xray.start()
        assert_all_there(xray, acknowledged)
        xray.kill()
    assert total > rounds


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_acknowledged_survives(tmp_path: Path, number: signal.Signals) -> None:
    rounds_of_kills(tmp_path, 3, number)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_everything_acknowledged_survives_fifty_kills(tmp_path: Path) -> None:
    rounds_of_kills(tmp_path, 50, signal.SIGKILL)


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

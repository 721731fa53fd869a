"""Several receiving processes on the same ports: one may die, all may be replaced, none outlives its parent."""

import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.sender import SPANS, Client
from tests.acceptance.test_killed import QUIET, assert_all_there, is_ready
from tests.processes import XRay, running, wait_for

TWO = {**QUIET, "XRAY_WORKERS": "2"}


def receivers(xray: XRay) -> list[int]:
    assert xray.process is not None
    children = psutil.Process(xray.process.pid).children()
    return sorted(child.pid for child in children if "collector.worker_process" in " ".join(_command(child)))


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.timeout(120)
def test_a_dead_receiver_is_replaced_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with running(tmp_path, **TWO) as xray:
        before = receivers(xray)
        assert len(before) == 2
        clients = [Client(xray.target).start() for _ in range(6)]
        assert clients[0].first.wait(20)
        os.kill(before[0], signal.SIGKILL)
        after = wait_for("a new receiver", lambda: len(found := receivers(xray)) == 2 and found != before and found)
        assert before[0] not in after
        for client in clients:
            client.stop()
        assert_all_there(xray, [trace_id for client in clients for trace_id in client.acknowledged])


@pytest.mark.timeout(120)
def test_a_hangup_replaces_every_receiver(tmp_path: Path) -> None:
    with running(tmp_path, **TWO) as xray:
        before = receivers(xray)
        assert xray.process is not None
        xray.process.send_signal(signal.SIGHUP)
        wait_for("two new receivers", lambda: len(receivers(xray)) == 2 and not set(receivers(xray)) & set(before))
        assert xray.get("/executions") == {"items": [], "next_cursor": None}


def sample(xray: XRay, name: str) -> float:
    """A metric over a connection of its own, which any of the processes may answer."""
    lines = httpx.get(f"{xray.url}/metrics", timeout=10).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@pytest.mark.timeout(120)
def test_any_process_answers_for_all(tmp_path: Path) -> None:
    with running(tmp_path, **TWO) as xray:
        clients = [Client(xray.target).start() for _ in range(6)]
        wait_for("reasoning, which is done in the parent", lambda: sample(xray, "xray_reasoning_seconds_count"))
        for client in clients:
            client.stop()
        spans = sum(len(client.acknowledged) for client in clients) * SPANS
        os.kill(receivers(xray)[0], signal.SIGKILL)
        wait_for("two receivers", lambda: len(receivers(xray)) == 2 and is_ready(xray))
        # Twenty connections: that only one of two processes answers them is as likely as twenty times heads.
        assert {sample(xray, "xray_spans_accepted_total") for _ in range(20)} == {spans}
        assert sample(xray, "xray_inflight_bytes") == sample(xray, "xray_spool_bytes") == 0
        assert sample(xray, "process_resident_memory_bytes") > 100 << 20


@pytest.mark.timeout(120)
def test_any_process_tells_of_a_parent_that_hangs(tmp_path: Path) -> None:
    with running(tmp_path, **TWO) as xray:
        assert xray.process is not None
        parent = psutil.Process(xray.process.pid)
        assert httpx.get(f"{xray.url}/readyz").json()["parts"].keys() >= {"worker", "retention", "writer", "parent"}
        parent.suspend()
        wait_for("every process to say so", lambda: not any(is_ready(xray) for _ in range(10)), 5)
        parent.resume()
        wait_for("every process to be ready", lambda: all(is_ready(xray) for _ in range(10)), 5)


@pytest.mark.timeout(120)
def test_a_killed_parent_leaves_no_process_behind(tmp_path: Path) -> None:
    xray = XRay(tmp_path, TWO).start()
    assert xray.process is not None
    family = psutil.Process(xray.process.pid).children(recursive=True)
    assert len(family) > 3
    xray.kill()
    gone, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, [_command(process) for process in alive]
    assert len(gone) == len(family)

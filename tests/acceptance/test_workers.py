"""Several receiving processes on the same ports: one may die, all may be replaced, none outlives its parent."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.acceptance.sender import Client
from tests.acceptance.test_killed import QUIET, assert_all_there
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

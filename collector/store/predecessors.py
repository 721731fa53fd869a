"""A server that an earlier service left behind: known, ended, and its pid file cleared away."""

import asyncio
import os
import signal
import time
from pathlib import Path

from collector.errors import Misconfigured

PATIENCE_S = 60.0
READY_LINE = 7


def is_ready(pid_file: Path, pid: int) -> bool:
    """True once the server with this pid says so in its pid file."""
    lines = _lines(pid_file)
    return len(lines) > READY_LINE and lines[0].strip() == str(pid) and lines[READY_LINE].strip() == "ready"


async def retire(cluster: Path) -> None:
    """End every process that still works in the cluster's folder, then remove a pid file that nobody owns.

    The folder's lock is ours, so whoever is left lost its service a moment ago and mostly ends by itself already.
    A pid in the file proves nothing: it may be a zombie, or another program's by now.
    """
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists():
        return
    for step, limit_s in ((signal.SIGINT, PATIENCE_S), (signal.SIGQUIT, 10.0)):
        _signal(_postmaster(pid_file, cluster), step)
        if await _left(cluster, limit_s):
            pid_file.unlink(missing_ok=True)
            return
    raise Misconfigured(
        f"Postgres (process {', '.join(map(str, workers_in(cluster)))}) still uses {cluster} and does not end. "
        "Stop it by hand, then start again."
    )


def workers_in(cluster: Path) -> list[int]:
    """The living processes whose working directory is the cluster: a server and its children."""
    folder = str(cluster.resolve())
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _works_in(entry, folder)]


def _works_in(pid: str, folder: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == folder
    except OSError:  # gone, a zombie, or somebody else's
        return False


def _postmaster(pid_file: Path, cluster: Path) -> int | None:
    lines = _lines(pid_file)
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else None
    return pid if pid in workers_in(cluster) else None


def _signal(pid: int | None, step: signal.Signals) -> None:
    if pid is not None:
        try:
            os.kill(pid, step)
        except ProcessLookupError:
            return


async def _left(cluster: Path, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while workers_in(cluster):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def _lines(pid_file: Path) -> list[str]:
    try:
        return pid_file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []

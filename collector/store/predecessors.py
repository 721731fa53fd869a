"""A server that an earlier service left behind: known, ended, and its pid file cleared away."""

import asyncio
import os
import signal
import time
from pathlib import Path

from collector.errors import Misconfigured
from collector.store.places import SOCKET_NAME

PATIENCE_S = 60.0
READY_LINE = 7


def pid_file_of(cluster: Path) -> Path:
    return cluster / "postmaster.pid"


def is_ready(pid_file: Path, pid: int) -> bool:
    """True once the server with this pid says so in its pid file."""
    lines = _lines(pid_file)
    return len(lines) > READY_LINE and lines[0].strip() == str(pid) and lines[READY_LINE].strip() == "ready"


def socket_lock_of(socket_dir: Path) -> Path:
    return socket_dir / f"{SOCKET_NAME}.lock"


async def retire(cluster: Path, socket_dir: Path) -> None:
    """End every process that still works in the cluster's folder, then remove files that would stop a start.

    The data folder is locked by us, so whoever is left lost its service a moment ago and mostly ends by itself.
    A living pid in the file proves nothing: it may be a zombie, or another program's by now.
    """
    recorded = _recorded_pid(cluster)
    if recorded is not None:
        await _end_recorded(cluster, recorded)
    # After a kill or a crash of the machine the lock beside the socket names a pid that may be anybody's by now.
    if (lock := socket_lock_of(socket_dir)).exists() and not workers_in(cluster):
        lock.unlink(missing_ok=True)


async def _end_recorded(cluster: Path, recorded: int) -> None:
    first = [pid for pid in workers_in(cluster) if pid == recorded]
    if not await _ended(cluster, first, signal.SIGINT, PATIENCE_S):
        rest = workers_in(cluster)
        if not await _ended(cluster, rest, signal.SIGQUIT, 10.0):
            names = ", ".join(map(str, workers_in(cluster)))
            raise Misconfigured(
                f"Postgres (process {names}) still uses {cluster} and does not end. Stop it by hand, then start again."
            )
    # One that names a dead process is left to Postgres, which also looks for what else uses the cluster's memory.
    if _name(recorded):
        pid_file_of(cluster).unlink(missing_ok=True)


def workers_in(cluster: Path) -> list[int]:
    """The living processes whose working directory is the cluster: a server and its children."""
    folder, recorded = str(cluster.resolve()), _recorded_pid(cluster)
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in pids if _works_in(pid, folder, recorded)]


def _works_in(pid: int, folder: str, recorded: int | None) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == folder
    except PermissionError:
        # Root without CAP_SYS_PTRACE (a container's default) can't look there: go by pid and name.
        return pid == recorded and _name(pid) == "postgres"
    except OSError:  # ended, or a zombie
        return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


async def _ended(cluster: Path, pids: list[int], step: signal.Signals, limit_s: float) -> bool:
    for pid in pids:
        try:
            os.kill(pid, step)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + limit_s
    while workers_in(cluster):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def _recorded_pid(cluster: Path) -> int | None:
    lines = _lines(pid_file_of(cluster))
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def _lines(pid_file: Path) -> list[str]:
    try:
        return pid_file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []

"""The embedded Postgres: a server of X-Ray's own in the data folder, for whoever named no database.

It listens on a unix socket only, lives exactly as long as this process (also when that is killed), and keeps every
promise of a Postgres: fsync and synchronous_commit stay on.
"""

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog

from collector.errors import Misconfigured
from collector.store import predecessors
from collector.store.places import Account, Places, as_seen, own_folder
from collector.store.programs import find_programs

USER = "xray"
DATABASE = "postgres"
LAUNCHER = Path(__file__).with_name("launch.py")
START_LIMIT_S = 300.0  # a recovery after a crash does again what the log holds
STOP_LIMIT_S = 60.0
RESTART_DELAY_S = 2.0

INITDB_OPTIONS = (
    *("-U", USER, "--auth=peer", "--no-locale", "--encoding=UTF8", "--no-instructions"),
    # One call instead of one for each of a thousand files.
    "--sync-method=syncfs",
)
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "48MB",
    # Filled with zeros at the start already: they count, however little is written.
    "wal_buffers": "2MB",
    # Nothing reads ahead: four handles a backend instead of fifty, which are made for all backends at the start.
    "io_method": "sync",
    "io_max_concurrency": "4",
    "autovacuum_worker_slots": "3",
    # Only SERIALIZABLE takes these.
    "max_pred_locks_per_transaction": "10",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "10min",
    # No standby reads this log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    # ANALYZE keeps 300 whole rows for each in memory: 40 MB of steps with prompts at the usual 100.
    "default_statistics_target": "40",
    # Short: the job table turns over all the time.
    "autovacuum_naptime": "5s",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # No failed statements: they would carry what senders wrote into the log.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "logging_collector": "off",
}


class EmbeddedPostgres:
    """Start and stop in any order and any number of times; `start` only from the main thread."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._settings = {**SETTINGS, **(settings or {})}
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> str:
        """Start the server, make its cluster first where there is none, and return its URL once it takes connections.

        Raises Misconfigured where the folder is in use, can't be written, or the server does not come up.
        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel ends the server with the *thread* that started it.
            raise RuntimeError("The embedded Postgres is started from the main thread.")
        if self._lock is None:
            self._lock = _lock_folder(self._data_dir)
            try:
                await self._start(Places.below(self._data_dir))
            except BaseException:  # cancelled or failed: nothing of it may stay behind
                await self.stop()
                raise
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(Places.below(self._data_dir).socket_dir))}"

    async def stop(self) -> None:
        """End the server (SIGINT: open transactions are rolled back, the rest is on disk) and free the folder."""
        if self._guard is not None:
            self._guard.cancel()
            with suppress(asyncio.CancelledError):
                await self._guard
            self._guard = None
        if self._process is not None:
            await _end(self._process)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _start(self, places: Places) -> None:
        name = _own_name()
        binaries = await asyncio.to_thread(find_programs, places.account)
        try:
            await predecessors.retire(places.cluster, places.socket_dir)
            if not (places.cluster / "PG_VERSION").exists():
                await _make_cluster(binaries, places)
            _write_access_rules(places.cluster, name)
            places.make_socket_dir()
        except OSError as error:
            raise Misconfigured(
                f"The embedded Postgres can't use {self._data_dir}: {error}. Start X-Ray as the folder's owner, "
                "or name another folder with --data-dir or XRAY_DATA_DIR."
            ) from error
        await self._run(binaries, places)
        self._guard = asyncio.create_task(self._keep_running(binaries, places))

    async def _run(self, binaries: Path, places: Places) -> None:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with ExitStack() as stack:
            cluster, data_descriptors = stack.enter_context(as_seen(places.cluster, places.account))
            sockets, socket_descriptors = stack.enter_context(as_seen(places.socket_dir, places.account))
            log = stack.enter_context(places.open_log())
            quoted = sockets.replace('"', '""')
            command = [str(binaries / "postgres"), "-D", cluster, "-c", f'unix_socket_directories="{quoted}"', *options]
            self._process = _spawn(command, places.account, log, data_descriptors + socket_descriptors)
        await _ready(self._process, places)

    async def _keep_running(self, binaries: Path, places: Places) -> None:
        """Start the server again when it ends by itself (out of memory, a stray signal)."""
        log = structlog.get_logger()
        while self._process is not None:
            await _until(self._has_ended, float("inf"), pause_s=0.1)
            log.error("embedded_postgres_ended", exit_code=self._process.returncode)
            try:
                await predecessors.retire(places.cluster, places.socket_dir)
                await self._run(binaries, places)
                log.info("embedded_postgres_started_again", pid=self.pid)
            except (Misconfigured, OSError) as error:
                log.error("embedded_postgres_failed", reason=str(error))  # noqa: TRY400 - the reason says it all
                await asyncio.sleep(RESTART_DELAY_S)

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


def _lock_folder(data_dir: Path) -> IO[str]:
    """Make the data folder this process's own; the lock goes with the process, however that ends."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise Misconfigured(
            f"The data folder {data_dir} can't be written ({error.strerror}). "
            "Make it writable, or name another one with --data-dir or XRAY_DATA_DIR."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise Misconfigured(
            f"Another X-Ray{f' (process {holder})' if holder else ''} uses the data folder {data_dir}. Stop it, "
            "name another folder with --data-dir or XRAY_DATA_DIR, or give both the same XRAY_DATABASE_URL."
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


async def _make_cluster(binaries: Path, places: Places) -> None:
    """Make the cluster beside its place, and rename it once it is complete and on disk."""
    for leftover in places.drafts():
        shutil.rmtree(leftover, ignore_errors=True)
    own_folder(places.draft, places.account)
    command = [str(binaries / "initdb"), *INITDB_OPTIONS]
    with as_seen(places.draft, places.account) as (folder, descriptors), places.open_log() as log:
        process = _spawn([*command, "-D", folder], places.account, log, descriptors)
        try:
            await _until(lambda: process.poll() is not None, START_LIMIT_S)
        finally:
            await _end(process)
    if process.returncode != 0:
        raise Misconfigured(f"The embedded Postgres could not be set up: {places.last_words()}")
    places.draft.rename(places.cluster)
    descriptor = os.open(places.data_dir, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Misconfigured(
            f"Postgres does not run for an account without a name, and user id {os.geteuid()} has none. "
            "Add it to /etc/passwd, or set XRAY_DATABASE_URL."
        ) from None


def _write_access_rules(cluster: Path, name: str) -> None:
    """Who may connect: this process's account and root, as the socket names them."""
    mapping = "".join(f'xray "{account}" {USER}\n' for account in sorted({"root", name}))
    for file, content in (("pg_hba.conf", f"local all {USER} peer map=xray\n"), ("pg_ident.conf", mapping)):
        if (cluster / file).read_text() != content:
            (cluster / file).write_text(content)


def _spawn(
    command: list[str], account: Account, log: IO[bytes], descriptors: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the programs are our own
        [sys.executable, "-I", "-S", LAUNCHER, str(account.uid), str(account.gid), str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
    )


async def _ready(process: subprocess.Popen[bytes], places: Places) -> None:
    pid_file = predecessors.pid_file_of(places.cluster)

    def answered() -> bool:
        return process.poll() is not None or predecessors.is_ready(pid_file, process.pid)

    if not await _until(answered, START_LIMIT_S):
        raise Misconfigured(f"The embedded Postgres is not ready after {START_LIMIT_S:.0f} s; see {places.log_file}.")
    if process.poll() is not None:
        raise Misconfigured(f"The embedded Postgres did not start: {places.last_words()}")


async def _end(process: subprocess.Popen[bytes]) -> None:
    for step, limit_s in ((signal.SIGINT, STOP_LIMIT_S), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
        if process.poll() is None:
            process.send_signal(step)
            await _until(lambda: process.poll() is not None, limit_s)


async def _until(condition: Callable[[], bool], limit_s: float, pause_s: float = 0.005) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(pause_s)
    return True

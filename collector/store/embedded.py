"""The embedded Postgres: a server of X-Ray's own in the data folder, for whoever named no database.

It listens on a unix socket only, lives exactly as long as this process (also when that is killed), and keeps every
promise of a Postgres: fsync and synchronous_commit stay on.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO
from urllib.parse import quote

from collector.errors import Misconfigured
from collector.store import predecessors
from collector.store.places import Account, Places, account_for, as_seen, own_folder, programs

USER = "xray"
DATABASE = "postgres"
LAUNCHER = Path(__file__).with_name("launch.py")
LOG_LIMIT_BYTES = 4 << 20
START_LIMIT_S = 300.0  # a crash recovery writes again what the log holds
STOP_LIMIT_S = 60.0

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "wal_buffers": "8MB",
    "io_method": "sync",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "10min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    # Short: the job table turns over all the time.
    "autovacuum_naptime": "5s",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # No statements, no details: they would carry what senders wrote into the log.
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "logging_collector": "off",
}


class EmbeddedPostgres:
    """Start and stop are safe in any order and any number of times; `start` must be called from the main thread."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._settings = {**SETTINGS, **(settings or {})}
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> str:
        """Start the server, make its cluster first where there is none, and return its URL once it takes connections.

        Raises Misconfigured where the folder is in use, can't be written, or the server does not come up.
        """
        if threading.current_thread() is not threading.main_thread():
            # The server gets its signal when the *thread* ends that started it.
            raise RuntimeError("The embedded Postgres is started from the main thread.")
        places = self._claim_folder()
        try:
            await self._run(places)
        except BaseException:
            await self.stop()
            raise
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(places.socket_dir))}"

    async def stop(self) -> None:
        """End the server (SIGINT: open transactions are rolled back, the rest is on disk) and free the folder."""
        process, self._process = self._process, None
        if process is not None:
            for step, limit_s in ((signal.SIGINT, STOP_LIMIT_S), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
                if process.poll() is None:
                    process.send_signal(step)
                    await _until(lambda: process.poll() is not None, limit_s)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _claim_folder(self) -> Places:
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._data_dir / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise Misconfigured(
                f"The data folder {self._data_dir} can't be written ({error.strerror}). "
                "Make it writable, or name another one with --data-dir or XRAY_DATA_DIR."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise Misconfigured(
                f"Another X-Ray{f' (process {holder})' if holder else ''} uses the data folder {self._data_dir}. "
                "Stop it, name another folder with --data-dir or XRAY_DATA_DIR, or share one XRAY_DATABASE_URL."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        return Places(self._data_dir, account_for(Places(self._data_dir, Account(0, 0)).cluster))

    async def _run(self, places: Places) -> None:
        binaries = await asyncio.to_thread(programs, places.account)
        await predecessors.retire(places.cluster)
        try:
            if not (places.cluster / "PG_VERSION").exists():
                await _make_cluster(binaries, places)
            _write_access_rules(places)
            places.socket_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            own_folder(places.socket_dir, places.account)
            self._process = self._launch(binaries, places)
        except OSError as error:
            raise Misconfigured(f"The embedded Postgres can't use {self._data_dir}: {error}.") from error
        await _ready(self._process, places)

    def _launch(self, binaries: Path, places: Places) -> subprocess.Popen[bytes]:
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with ExitStack() as stack:
            cluster, data_descriptors = stack.enter_context(as_seen(places.cluster, places.account))
            sockets, socket_descriptors = stack.enter_context(as_seen(places.socket_dir, places.account))
            log = stack.enter_context(_open_log(places.log_file))
            command = [str(binaries / "postgres"), "-D", cluster, "-k", sockets, *options]
            return _spawn(command, places.account, log, data_descriptors + socket_descriptors)


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


async def _make_cluster(binaries: Path, places: Places) -> None:
    """Make the cluster beside its place and rename it when it is complete and on disk."""
    draft = places.data_dir / f"{places.cluster.name}.new"
    await predecessors.retire(draft)
    shutil.rmtree(draft, ignore_errors=True)
    own_folder(draft, places.account)
    command = [
        str(binaries / "initdb"),
        "-U",
        USER,
        "--auth=peer",
        "--no-locale",
        "--encoding=UTF8",
        "--no-instructions",
    ]
    with as_seen(draft, places.account) as (folder, descriptors), _open_log(places.log_file) as log:
        process = _spawn([*command, "-D", folder], places.account, log, descriptors)
        try:
            await _until(lambda: process.poll() is not None, START_LIMIT_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise Misconfigured(f"The embedded Postgres could not be set up in {draft}: {_last_words(places.log_file)}")
    draft.rename(places.cluster)
    descriptor = os.open(places.data_dir, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _write_access_rules(places: Places) -> None:
    """Who may connect: this process's account and root, known by the socket's peer."""
    import pwd

    try:
        names = {"root", pwd.getpwuid(os.geteuid()).pw_name}
    except KeyError:
        # An account without a name can't be matched; the socket's folder lets nobody else pass.
        names = set()
    method = "peer map=xray" if names else "trust"
    _write(places.cluster / "pg_hba.conf", f"local all {USER} {method}\n")
    _write(places.cluster / "pg_ident.conf", "".join(f'xray "{name}" {USER}\n' for name in sorted(names)))


def _write(file: Path, content: str) -> None:
    if not file.exists() or file.read_text() != content:
        file.write_text(content)


def _open_log(file: Path) -> IO[bytes]:
    if file.exists() and file.stat().st_size > LOG_LIMIT_BYTES:
        file.replace(file.with_suffix(".log.1"))
    return file.open("ab")


async def _ready(process: subprocess.Popen[bytes], places: Places) -> None:
    pid_file = places.cluster / "postmaster.pid"

    def answered() -> bool:
        return process.poll() is not None or predecessors.is_ready(pid_file, process.pid)

    if not await _until(answered, START_LIMIT_S):
        raise Misconfigured(f"The embedded Postgres is not ready after {START_LIMIT_S:.0f} s; see {places.log_file}.")
    if process.poll() is not None:
        raise Misconfigured(f"The embedded Postgres did not start: {_last_words(places.log_file)}")


def _last_words(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()[-20:]
    telling = [line for line in lines if "FATAL" in line or "error:" in line] or lines[-3:]
    return f"{' '.join(telling[:2])} (more in {log_file})"


async def _until(condition: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True

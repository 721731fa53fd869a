"""Several receiving processes on the same ports (SO_REUSEPORT): started, watched, replaced one at a time."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import msgspec
import structlog

from collector.config import Settings
from collector.errors import Misconfigured
from collector.shared_metrics import forget

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
STEADY_AFTER_S = 10.0
COMMAND = (sys.executable, "-m", "collector.worker_process")
READY = b"ready\n"
"""What a process says on stdout once it can be used."""


def encode(settings: Settings) -> bytes:
    return msgspec.json.encode(settings, enc_hook=str)


def decode(told: bytes) -> Settings:
    return msgspec.json.decode(told, type=Settings, dec_hook=_path)


def _path(wanted: type, value: Any) -> Any:
    if wanted is Path:
        return Path(value)
    raise TypeError(wanted)


class Supervisor:
    """Keeps `count` processes running with the same settings.

    A process that ends by itself is started again, with a growing pause where it ends at once each time. `replace`
    drains one process after the other and starts another in its place, which then finds what the old one left in its
    spool; meanwhile the kernel gives new connections to those that listen.
    """

    def __init__(self, settings: Settings, count: int) -> None:
        self._told = encode(settings)
        self._count = count
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._replacing = asyncio.Lock()
        self._replaced: set[int] = set()
        self._started = asyncio.Condition()
        self._stopping = False
        self._log = structlog.get_logger("xray")

    @property
    def is_healthy(self) -> bool:
        return not any(keeper.done() for keeper in self._keepers)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes.values()]

    async def start(self) -> None:
        """Raises Misconfigured where a process can't start."""
        await asyncio.gather(*(self._spawn(number) for number in range(self._count)))
        self._keepers = [asyncio.create_task(self._keep(number)) for number in range(self._count)]

    async def stop(self) -> None:
        """SIGTERM to all, and wait until they have drained; safe twice."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(_end(process) for process in self._processes.values()))
        self._processes.clear()

    async def replace(self) -> None:
        """A new process in the place of each, one at a time."""
        async with self._replacing:
            for number in range(self._count):
                process = self._processes[number]
                self._replaced.add(process.pid)
                await _end(process)
                async with self._started:
                    await self._started.wait_for(lambda: self._processes[number] is not process)  # noqa: B023 - awaited within the turn

    async def _spawn(self, number: int) -> None:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self._told)
        process.stdin.write_eof()
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                said = await process.stdout.readline()
        except TimeoutError:
            said = b""
        if said != READY:
            await _end(process)
            raise Misconfigured(f"Receiving process {number + 1} did not start; what it said stands above.")
        self._processes[number] = process
        async with self._started:
            self._started.notify_all()

    async def _keep(self, number: int) -> None:
        pause_s = FIRST_PAUSE_S
        now = asyncio.get_running_loop().time
        while True:
            process, began = self._processes[number], now()
            code = await process.wait()
            forget(process.pid)
            if self._stopping:
                return
            if process.pid not in self._replaced:
                self._log.warning("receiver_ended", number=number + 1, code=code)
                pause_s = FIRST_PAUSE_S if now() - began > STEADY_AFTER_S else min(pause_s * 2, LONGEST_PAUSE_S)
                await asyncio.sleep(pause_s)
            self._replaced.discard(process.pid)
            await self._start_again(number, process)

    async def _start_again(self, number: int, ended: asyncio.subprocess.Process) -> None:
        while self._processes[number] is ended:
            try:
                await self._spawn(number)
            except Misconfigured as error:
                self._log.error("receiver_not_started", number=number + 1, reason=str(error))
                await asyncio.sleep(LONGEST_PAUSE_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
